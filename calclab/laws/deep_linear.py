"""Deep networks without, or with homogeneous, activations: what descent keeps, and when each mode is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from calclab import schema
from calclab.core import Curves, Data, Function, Picture, Rule, State, Values
from calclab.errors import UserError
from calclab.laws.base import Plain, slope
from calclab.numerics.deep_linear import half_time, imbalance, mode_strength
from calclab.numerics.operators import loss_and_gradient
from calclab.subject.network import Network

FEW = 4  # modes that are drawn
KINDS = "Type network=deep network.activation=identity network.depth=1 network.bias=false"


def layers_of(network: Network, name: str, homogeneous: tuple[type[nn.Module], ...]) -> list[str]:
    """The names of the weights of a chain of linear layers, from the input; UserError for another network, or one with
    another activation than the ``homogeneous`` ones between them."""
    if not isinstance(network, Network):
        raise UserError(f"law={name} is about a network. {KINDS}")
    found, biased = [], False
    for path, module in network.module.named_modules():
        if isinstance(module, nn.Linear):
            found.append(f"{path}.weight")
            biased = biased or module.bias is not None
        elif not any(True for _ in module.children()) and not isinstance(module, homogeneous):
            raise UserError(f"law={name}: {network.name} has a layer {type(module).__name__}. {KINDS}")
    if len(found) < 2 or biased:
        raise UserError(f"law={name} needs linear layers without biases, at least two in a row. {KINDS}")
    return found


@dataclass(frozen=True, kw_only=True)
class Imbalance(schema.law.Imbalance, Plain):
    """k runs over rates lr 2^-k; at each, the network descends for the same ``time`` = rate × steps from the same
    weights. ``drift`` is how far the differences of its layers' Gram matrices moved (`numerics.deep_linear`), of ReLU
    networks their diagonals. It is at most lr (f₀ - f) Λ, Λ = 1/(1 - lr λ/2) with λ the largest curvature met: measured
    as the sum of lr² ‖g‖², which bounds it."""

    subject: Network
    rule: Rule | None = None
    seed: int = 0

    quantities = ("drift",)
    axis = "lr"
    log = "xy"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.names

    @cached_property
    def names(self) -> list[str]:
        return layers_of(self.subject, "imbalance", (nn.Identity, nn.ReLU))

    @cached_property
    def diagonal(self) -> bool:
        return any(isinstance(module, nn.ReLU) for module in self.subject.module.modules())

    @property
    def steps(self) -> int:
        return self.halvings

    def differences(self, θ: Tensor) -> Tensor:
        """All entries of all D_l, in a row."""
        parts = self.subject.unflatten(θ)
        return torch.cat([D.flatten() for D in imbalance([parts[n] for n in self.names], diagonal=self.diagonal)])

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f: Function = self.subject.objective()
        lr = self.lr * 0.5**k
        θ, squares, exact = f.start, 0.0, torch.zeros_like(self.differences(f.start))
        before = self.differences(θ)
        for _ in range(round(self.time / lr)):
            g = loss_and_gradient(f, θ)[1]
            squares += lr**2 * float(g.square().sum())
            exact = exact + lr**2 * self.differences(g)
            θ = θ - lr * g
        drift = (self.differences(θ) - before).norm()
        return state, {
            "lr": torch.tensor(lr, dtype=torch.float64),
            "drift": drift,
            "drift_theory": exact.norm(),
            "bound": torch.tensor(squares, dtype=torch.float64),
            "kept": before.norm(),
            "loss": loss_and_gradient(f, θ)[0],
        }

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """The order of the drift in the rate, and the largest share of its bound that it takes."""
        half = slice(len(seen["lr"]) // 2, None)
        return {
            "slope_drift": slope(seen["lr"][half], seen["drift"][half]),
            "share_of_bound": (seen["drift"] / seen["bound"]).max(),
            "last_relative_drift": seen["drift"][-1] / seen["kept"][-1],
        }


@dataclass(frozen=True, kw_only=True)
class Modes(schema.law.Modes, Plain):
    """A network of two linear layers learns the singular vectors of E yxᵀ one after the other. k runs over times at
    which it is looked at, evenly up to ``time``.

    The inputs are whitened (x ↦ C^{-1/2}x, so that E xxᵀ = I), the targets centred; the weights begin balanced, along
    the singular vectors, at strength ``start`` each. ``mode`` (r,) is what of each the network has learned, beside the
    closed curve of `numerics.deep_linear`. The network's own loss (half_mse) and gradient descent at ``lr`` are used.
    """

    subject: Network
    rule: Rule | None = None
    seed: int = 0

    quantities = ("mode",)
    vectors = quantities
    axis = "time"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(layers_of(self.subject, "modes", (nn.Identity,))) != 2:
            raise UserError(f"law=modes is about two layers. {KINDS}")
        if self.subject.loss_name != "half_mse":
            raise UserError(
                f"law=modes: theory is for half of the mean square, not {self.subject.loss_name}. "
                "Type network.loss=half_mse"
            )

    @property
    def steps(self) -> int:
        return self.looks

    @cached_property
    def whitened(self) -> Network:
        """The network on whitened inputs and centred targets."""
        data = self.subject.data
        targets = one_hot(data) if data.classification else data.targets
        x, y = data.inputs.flatten(1), targets.to(data.inputs.dtype)
        λ, V = torch.linalg.eigh(x.T @ x / len(x))
        if bool(λ[0] <= 1e-10 * λ[-1]):
            raise UserError("law=modes: the inputs are linearly dependent, and cannot be whitened. Use other data")
        made = replace(data, inputs=x @ V @ torch.diag(λ.rsqrt()) @ V.T, targets=y - y.mean(0), classification=False)
        return replace(self.subject, data=made, training=0)

    @cached_property
    def singular(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (m, r), s (r,), Vᵀ (r, d) of E yxᵀ, r no more than the hidden units."""
        data = self.whitened.data
        U, s, Vh = torch.linalg.svd(data.targets.T @ data.inputs / len(data.inputs), full_matrices=False)
        r = min(int((s > 1e-8 * s[0]).sum()), next(iter(self.subject.shapes.values()))[0])
        if not bool((s[:r] > 2 * self.start).all()):
            raise UserError(
                f"law.start={self.start}: a mode begins below half of what it comes to, and the weakest comes to "
                f"{float(s[r - 1]):.3g}. Type law.start={float(s[r - 1]) / 100:.1g}"
            )
        return U[:, :r], s[:r], Vh[:r]

    def init(self) -> State:
        U, s, Vh = self.singular
        first, second = layers_of(self.subject, "modes", (nn.Identity,))
        width = self.subject.shapes[first][0]
        maker = torch.Generator().manual_seed(self.seed)
        R = torch.linalg.qr(torch.randn(width, width, generator=maker, dtype=U.dtype))[0][:, : len(s)]
        root = self.start**0.5
        return {"x": self.subject.flatten({first: root * R @ Vh, second: root * U @ R.T})}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        per_look = max(1, round(self.time / self.lr / self.looks))
        f, θ = self.whitened.objective(), state["x"]
        for _ in range(per_look if k else 0):
            θ = θ - self.lr * loss_and_gradient(f, θ)[1]
        U, s, Vh = self.singular
        parts = self.subject.unflatten(θ)
        first, second = layers_of(self.subject, "modes", (nn.Identity,))
        mode = (U.T @ parts[second] @ parts[first] @ Vh.T).diagonal()
        time = torch.tensor(k * per_look * self.lr, dtype=torch.float64)
        told = mode_strength(s, self.start, float(time))
        few = {
            f"mode_{i}{end}": part[i] for i in range(min(FEW, len(s))) for end, part in (("", mode), ("_theory", told))
        }
        return {"x": θ}, {
            **few,
            "time": time,
            "mode": mode,
            "mode_theory": told,
            "singular_value": s,
        }

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """How far each mode is from its curve, relative to s, and when it has half of s, as measured and as told."""
        s = seen["singular_value"][-1]
        told = half_time(s, self.start)
        half = torch.stack([crossing(seen["time"], seen["mode"][:, i], float(v) / 2) for i, v in enumerate(s)])
        return {
            "largest_gap_of_s": ((seen["mode"] - seen["mode_theory"]).abs() / s).max(),
            "half_times": half,
            "half_times_theory": told,
            "largest_gap_half_time": ((half - told).abs() / told).max(),
        }

    def pictures(self) -> Sequence[Picture]:
        few = range(min(FEW, len(self.singular[1])))
        names = tuple(f"mode_{i}{end}" for i in few for end in ("", "_theory"))
        return (Curves("modes", names, against="time", log="", axis="time"),)


def one_hot(data: Data) -> Tensor:
    return nn.functional.one_hot(data.targets, len(data.classes)).to(data.inputs.dtype)


def crossing(x: Tensor, y: Tensor, level: float) -> Tensor:
    """Where y, on straight lines between its points, first reaches the level; infinite where it does not."""
    above = (y >= level).nonzero()
    if not len(above):
        return x.new_tensor(torch.inf)
    i = int(above[0])
    if i == 0:
        return x[0]
    share = (level - y[i - 1]) / (y[i] - y[i - 1])
    return x[i - 1] + share * (x[i] - x[i - 1])
