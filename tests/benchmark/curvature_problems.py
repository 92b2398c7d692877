"""The networks on which curvature is measured, and the truth about them, by means of their own.

Trained by a few steps of Adam, on one thread, always from the same seeds. What training left, and the truth, is kept in
the temporary folder, since the ResNet takes minutes. The truth owes nothing to what is measured: plain torch, float64,
the whole matrix where it is small, otherwise Lanczos' method with every vector kept, until its residuals are 1e-8 of
the largest eigenvalue.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.core import Data
from calclab.network.plain import plain
from calclab.subject.network import Network, network

KEPT = Path(tempfile.gettempdir()) / "calclab-curvature"
CLOSE, SHOWN = 1e-8, 8


# --- modules ---


def mlp() -> nn.Module:
    """64-32-32-10, tanh: 3,466 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        bent = stride > 1 or before != after
        way = (nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.way = nn.Sequential(*way) if bent else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(h)) + self.way(x))


class ResNet20(nn.Module):
    """Nineteen convolutions and a linear layer (He et al. 2016, section 4.2), 272,474 parameters with width 16."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        sizes = [width] * 4 + [2 * width] * 3 + [4 * width] * 3
        blocks = [Block(sizes[i], sizes[i + 1], 2 if i in (3, 6) else 1) for i in range(9)]
        self.body = nn.Sequential(*blocks)
        self.output = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.body(self.stem(x)).mean((2, 3)))
        return result


class Transformer(nn.Module):
    """The next of 16 tokens: torch's own nn.TransformerEncoder, two layers of width 64, 72,096 parameters."""

    def __init__(self, tokens: int = 32, width: int = 64, length: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, tokens, length), as torch's cross-entropy wants them."""
        result: Tensor = self.output(self.encoder(self.embedding(x) + self.position)).transpose(1, 2)
        return result


# --- data ---


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data / 16.0), torch.tensor(found.target)


def images(count: int = 256) -> tuple[Tensor, Tensor]:
    """Ten smooth pictures 3 x 32 x 32, and noise."""
    draw = torch.Generator().manual_seed(1)
    ideal = functional.interpolate(
        torch.randn(10, 3, 8, 8, generator=draw, dtype=torch.float64), size=32, mode="bilinear"
    )
    classes = torch.randint(0, 10, (count,), generator=draw)
    return ideal[classes] + 0.7 * torch.randn(count, 3, 32, 32, generator=draw, dtype=torch.float64), classes


def tokens(count: int = 64, length: int = 16, kinds: int = 32) -> tuple[Tensor, Tensor]:
    """Walks on a random Markov chain, and the same walks one step on."""
    draw = torch.Generator().manual_seed(2)
    chances = torch.softmax(3 * torch.randn(kinds, kinds, generator=draw, dtype=torch.float64), 1)
    walks = torch.randint(0, kinds, (count, 1), generator=draw)
    for _ in range(length):
        walks = torch.cat([walks, torch.multinomial(chances[walks[:, -1]], 1, generator=draw)], 1)
    return walks[:, :-1].contiguous(), walks[:, 1:].contiguous()


# --- problems ---


@dataclass(frozen=True)
class Recipe:
    made: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, Tensor]]
    steps: int
    lr: float
    batch: int | None = None


RECIPES = {
    "mlp": Recipe(mlp, digits, 150, 3e-3),
    "transformer": Recipe(Transformer, tokens, 60, 3e-3),
    "resnet": Recipe(ResNet20, images, 14, 2e-3, 128),
}


@dataclass(frozen=True)
class Problem:
    """A module in eval mode, inputs (B, ...), targets (B,) or (B, length), mean cross-entropy; for peers and for us."""

    name: str
    module: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.module.parameters())

    @property
    def n(self) -> int:
        return sum(p.numel() for p in self.parameters)

    def loss(self) -> Tensor:
        with plain():
            return functional.cross_entropy(self.module(self.inputs), self.targets)

    def gradient(self) -> tuple[Tensor, ...]:
        """The unit of cost."""
        return torch.autograd.grad(self.loss(), self.parameters)

    def fresh(self) -> Problem:
        """The same with a module of its own: what a peer leaves behind is its own affair."""
        return replace(self, module=copy.deepcopy(self.module))

    def network(self) -> Network:
        """As calclab knows it."""
        return known(self.name, self.module, self.inputs, self.targets)


def known(name: str, module: nn.Module, inputs: Tensor, targets: Tensor) -> Network:
    """A network of any module and torch's own mean cross-entropy, of a row or of each of its tokens."""
    features = tuple(f"x{i}" for i in range(inputs[0].numel()))
    classes = tuple(map(str, range(int(targets.max()) + 1)))
    rows = targets.ndim == 1
    if not rows:
        classes = tuple(f"{kind}.{place}" for kind in classes for place in range(targets.shape[1]))
    data = Data(name, inputs, targets, features, classes, rows)
    dtype = next(module.parameters()).dtype
    return network(module, data, name=name, loss="cross_entropy" if rows else functional.cross_entropy, dtype=dtype)


def problem(name: str, dtype: torch.dtype = torch.float32) -> Problem:
    """A trained network and its data."""
    recipe = RECIPES[name]
    inputs, targets = recipe.data()
    module = once(f"{name}-state", lambda: trained(recipe, inputs, targets))
    made = recipe.made()
    made.load_state_dict(module)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    return Problem(name, made.to(dtype).eval(), inputs, targets)


def trained(recipe: Recipe, inputs: Tensor, targets: Tensor, points: list[Tensor] | None = None) -> dict[str, Tensor]:
    """Adam from the weights of seed 0; dropout goes on from where they were drawn. ``points`` gets θ at every step."""
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = recipe.made().train()
        rule = torch.optim.Adam(module.parameters(), lr=recipe.lr)
        for k in range(recipe.steps + 1):
            if points is not None:
                points.append(nn.utils.parameters_to_vector(module.parameters()).detach().clone())
            if k == recipe.steps:
                break
            rows = torch.arange(len(inputs))
            if recipe.batch is not None:
                rows = torch.randint(0, len(inputs), (recipe.batch,), generator=draw)
            rule.zero_grad()
            functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
            rule.step()
        with torch.no_grad():
            for _ in range(40 if recipe.batch is not None else 0):  # the running statistics settle
                module(inputs)
    return module.state_dict()


# --- truth ---


@dataclass(frozen=True)
class Truth:
    """The largest eigenvalues (8,), falling, and the smallest (); all of them (n,) where the matrix was formed."""

    top: Tensor
    least: Tensor
    every: Tensor | None

    def off(self, found: list[float]) -> float:
        """The largest relative error of the eigenvalues found, the largest first."""
        if len(found) == 0:
            return float("nan")
        values = torch.tensor(sorted(found, reverse=True), dtype=torch.float64)
        return float(((values - self.top[: len(values)]) / self.top[: len(values)]).abs().max())

    def distance(self, nodes: Tensor, weights: Tensor) -> float:
        """Wasserstein's distance of a density from the true one, relative to the largest |λ|."""
        from scipy.stats import wasserstein_distance

        assert self.every is not None, "the density is known where the matrix was formed"
        λ = self.every
        return float(wasserstein_distance(λ, nodes, None, weights) / λ.abs().max())


def truth(name: str) -> Truth:
    return Truth(**once(f"{name}-truth", lambda: found(problem(name, torch.float64))))


def found(about: Problem) -> dict[str, Tensor | None]:
    product = hessian_products(about)
    if about.n <= 5000:
        H = torch.cat([product(rows) for rows in torch.eye(about.n, dtype=torch.float64).split(64)])
        λ = torch.linalg.eigvalsh((H + H.T) / 2)
        return {"top": λ.flip(0)[:SHOWN], "least": λ[0], "every": λ}
    top, least = lanczos(product, about.n)
    return {"top": top, "least": least, "every": None}


def hessian_products(about: Problem) -> Callable[[Tensor], Tensor]:
    """v (n,), or rows (p, n), to H v, on one kept graph."""
    parameters = about.parameters
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(about.loss(), parameters, create_graph=True)])

    def product(v: Tensor) -> Tensor:
        parts = torch.autograd.grad(gradient, parameters, v, retain_graph=True, is_grads_batched=v.ndim > 1)
        return torch.cat([part.reshape(*v.shape[:-1], -1) for part in parts], -1)

    return product


def walk(name: str, every: int = 5) -> tuple[Tensor, Tensor]:
    """Points θ (p, n) of the training, ``every`` steps apart, and the largest eigenvalue at each, (p,)."""
    found = once(f"{name}-walk", lambda: walked(name, every))
    return found["points"], found["largest"]


def walked(name: str, every: int) -> dict[str, Tensor]:
    recipe = RECIPES[name]
    inputs, targets = recipe.data()
    points: list[Tensor] = []
    trained(recipe, inputs, targets, points)
    points = points[every::every]
    largest = []
    for θ in points:
        module = recipe.made().double().eval()
        nn.utils.vector_to_parameters(θ.double(), module.parameters())
        product = hessian_products(Problem(name, module, inputs, targets))
        largest.append(lanczos(product, len(θ), 1)[0][0])
    return {"points": torch.stack(points), "largest": torch.stack(largest)}


def lanczos(product: Callable[[Tensor], Tensor], n: int, count: int = 5) -> tuple[Tensor, Tensor]:
    """The eigenvalues, falling, of which ``count`` are good to ``CLOSE``, and the smallest there is."""
    q = torch.randn(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    Q, H = (q / q.norm())[None], torch.zeros(0, 0, dtype=torch.float64)
    while True:
        w = product(Q[-1])
        h = Q @ w
        rest = w - h @ Q
        rest = rest - (Q @ rest) @ Q
        m = len(Q)
        grown = torch.zeros(m, m, dtype=torch.float64)
        grown[:-1, :-1] = H
        grown[:, -1] = grown[-1] = h
        H = grown
        λ, S = torch.linalg.eigh(H)
        residuals = S[-1].abs() * rest.norm()
        if m > SHOWN and bool(residuals.flip(0)[:count].max() <= CLOSE * λ.abs().max()):
            return λ.flip(0)[:SHOWN], λ[0]
        Q = torch.cat([Q, (rest / rest.norm())[None]])


def once(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What ``make`` gives, made once on this machine and read ever after."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{name}.pt"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        torch.save(make(), draft)
        draft.rename(path)
    result: dict[str, Tensor] = torch.load(path, weights_only=True)
    return result
