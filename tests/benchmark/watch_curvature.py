"""λmax along a training as the watch reads it, against ARPACK on the same batch: how near, whether the bound held, and
how many products it took.

    python tests/benchmark/watch_curvature.py [looks]

An MLP by SGD with momentum and a small transformer by AdamW, batches of 64, float32, a look every fifth step: λmax from
the eigenvector of the look before, and the stability ratio; each until it is known that nothing larger was missed
("full"), and by the few products that the watch takes far from a ratio of 1 ("quick"). The reference is ARPACK's
(scipy.sparse.linalg.eigsh, tolerance 1e-5), from a start of its own, on the same kept graph. Aim: within 1 % at every
look, or the bound says that it may be more; and no look beyond its bound.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calclab.numerics.linear import LinearOperator
from calclab.optimizer.stability import diagonals, frozen
from calclab.second_order.held import Held
from calclab.second_order.sharpness import scaled, sharpness
from calclab.watch.curvature import FULL, QUICK

EVERY, BATCH = 5, 64
Loss = Callable[[], Tensor]


class Transformer(nn.Module):
    """Tokens (B, 16) to the next token's logits (B, 16, 32)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(32, width)
        self.place = nn.Parameter(0.02 * torch.randn(16, width))
        block = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 32)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return torch.as_tensor(self.head(self.blocks(self.embedding(x) + self.place, mask, is_causal=True)))


def mlp(looks: int) -> tuple[list[nn.Parameter], torch.optim.Optimizer, Iterator[Loss]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 10))
    X = torch.randn(1000, 64)
    Y = (X[:, :10] + 0.3 * torch.randn(1000, 10)).argmax(1)

    def losses() -> Iterator[Loss]:
        for _ in range(EVERY * looks):
            at = torch.randint(0, len(X), (BATCH,))
            yield lambda at=at: nn.functional.cross_entropy(model(X[at]), Y[at])

    return list(model.parameters()), torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), losses()


def transformer(looks: int) -> tuple[list[nn.Parameter], torch.optim.Optimizer, Iterator[Loss]]:
    torch.manual_seed(0)
    model = Transformer()

    def losses() -> Iterator[Loss]:
        for _ in range(EVERY * looks):
            first, step = torch.randint(0, 32, (BATCH, 1)), torch.randint(1, 4, (BATCH, 1))
            x = (first + step * torch.arange(17)) % 32
            yield lambda x=x: nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

    return list(model.parameters()), torch.optim.AdamW(model.parameters(), lr=3e-3), losses()


@dataclass(frozen=True)
class Seen:
    """One look: the value, the bound, the reference, the products."""

    value: float
    bound: float
    true: float
    products: int

    @property
    def off(self) -> float:
        return abs(self.value - self.true) / abs(self.true)

    @property
    def held(self) -> bool:
        """Within the bound, and what ARPACK and float32 leave open."""
        return abs(self.value - self.true) <= self.bound + 1e-4 * abs(self.true)

    @property
    def fine(self) -> bool:
        """Within 1 %, or the bound says that it may be more."""
        return self.off <= 0.01 or self.bound > 0.01 * abs(self.value)


def reference(A: LinearOperator) -> float:
    from scipy.sparse.linalg import eigsh  # type: ignore[import-untyped]

    return float(eigsh(A.scipy(), k=1, which="LA", tol=1e-5, return_eigenvectors=False)[0])


def along(
    parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, losses: Iterator[Loss]
) -> dict[str, list[Seen]]:
    """The looks of a training, by what was looked at."""
    near: dict[str, Tensor] = {}
    found: dict[str, list[Seen]] = {}
    for k, loss in enumerate(losses, 1):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if k % EVERY:
            continue
        about, felt = Held(loss(), parameters), diagonals(frozen(optimizer), parameters)
        for name, A in (("sharpness", about.hessian), ("stability ratio", scaled(about.hessian, felt.c, felt.d))):
            true = reference(A)
            for kind, most in (("full", FULL), ("quick", QUICK)):
                title = f"{name}, {kind}"
                top = sharpness(A, near.get(title), seed=k, most=most, eps=about.eps)
                near[title] = top.vector
                found.setdefault(title, []).append(Seen(float(top.value), top.bound, true, top.products))
    return found


def main() -> None:
    torch.set_num_threads(1)
    looks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for title, made in (("MLP", mlp(looks)), ("transformer", transformer(looks))):
            for name, seen in along(*made).items():
                near, held, fine = (
                    sum(found) for found in zip(*((s.off <= 0.01, s.held, s.fine) for s in seen), strict=True)
                )
                worst, bound = max(s.off for s in seen), statistics.median(s.bound / abs(s.value) for s in seen)
                products = statistics.mean(s.products for s in seen)
                print(
                    f"{title:<12} {name:<23} within 1 %: {near} of {len(seen)}, worst {worst:.2%}; or said so: {fine}; "
                    f"in the bound: {held}, median {bound:.2%}; {products:.1f} products"
                )


if __name__ == "__main__":
    main()
