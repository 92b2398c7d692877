"""How sizes and angles of activations and gradients go through the layers of a network whose weights are drawn anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from calclab import schema
from calclab.core import Rule, State, Values
from calclab.errors import UserError
from calclab.laws.base import Plain, mean_and_error
from calclab.network.activation import ACTIVATIONS
from calclab.network.build import own_copy, seeded
from calclab.network.residual import Block
from calclab.numerics.mean_field import moments
from calclab.subject.network import Network

KINDS = "Type network=residual, network=deep or network=mlp with network.bias=false"


class Stage(NamedTuple):
    """h ↦ skip · h + branch · W φ(h): the module whose output it is, its weights, the activation's name."""

    name: str
    linear: nn.Linear
    activation: str
    skip: float
    branch: float


@dataclass(frozen=True, kw_only=True)
class Propagation(schema.law.Propagation, Plain):
    """k runs over the layers, h_0 the first's output. The weights are drawn ``draws`` times as ``weights`` says; two
    inputs, one a row of the data, the other of ``correlation`` to it, go forward, and one random cotangent comes back.

    ``activation_variance`` is ‖h_k‖² per unit of the first input, ``gradient_variance`` ‖∂/∂h_k‖² relative to the
    cotangent's, ``activation_correlation`` and ``gradient_correlation`` those between the two inputs, each a ratio of
    means over draws. Theory is `numerics.mean_field`: of the variances, for ReLU and identity, exact on average at
    every width, of the correlations for wide layers, up to O(depth/width).
    """

    subject: Network
    rule: Rule | None = None
    seed: int = 0

    quantities = ("activation_variance", "gradient_variance", "activation_correlation", "gradient_correlation")
    axis = "layer"
    log = "y"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.subject, Network):
            raise UserError(f"law=propagation is about a network. {KINDS}")
        _ = self.stages
        for stage in self.stages[1:]:
            moments(stage.activation, 1.0, 0.0)  # UserError for one that theory does not know

    @cached_property
    def module(self) -> nn.Module:
        """A copy whose weights may be drawn anew."""
        return own_copy(self.subject.module)

    @cached_property
    def stages(self) -> list[Stage]:
        """The layers in order; UserError for a network of another kind."""
        found: list[Stage] = []
        before = "identity"
        for name, module in self.module.named_modules():
            if isinstance(module, Block):
                found.append(Stage(name, module.linear, called(module.activation), module.skip, module.branch))
            elif isinstance(module, nn.Linear) and not name.endswith(".linear"):
                if module.bias is not None:
                    raise UserError(f"law=propagation: {name} of {self.subject.name} has a bias. {KINDS}")
                found.append(Stage(name, module, before, 0.0, 1.0))
                before = "identity"
            elif type(module) in map(type, (make() for make in ACTIVATIONS.values())) and "blocks." not in name:
                before = called(module)
            elif not any(True for _ in module.children()) and not name.endswith((".linear", ".activation")):
                raise UserError(f"law=propagation: {self.subject.name} has a layer {type(module).__name__}. {KINDS}")
        if len(found) < 2:
            raise UserError(f"law=propagation: {self.subject.name} has fewer than two layers. {KINDS}")
        return found

    @property
    def steps(self) -> int:
        return len(self.stages) - 2  # the output is where gradients start

    @cached_property
    def inputs(self) -> Tensor:
        """The two inputs (2, d), of one length."""
        x = self.subject.data.inputs[self.row].flatten().double()
        maker = torch.Generator().manual_seed(self.seed)
        other = torch.randn(x.shape, generator=maker, dtype=x.dtype)
        other = other - (other @ x) / (x @ x) * x
        c = self.correlation
        return torch.stack([x, c * x + math.sqrt(1 - c * c) * x.norm() / other.norm() * other])

    def variance(self, linear: nn.Linear) -> float:
        """The variance of an entry of the weights (m, n): gain² times 2/n (He), 2/(n + m) (Xavier), 1/max(n, m)."""
        n, m = linear.in_features, linear.out_features
        return self.gain**2 * {"he": 2 / n, "xavier": 2 / (n + m), "orthogonal": 1 / max(n, m)}[self.weights]

    def draw(self) -> None:
        """New weights everywhere."""
        for stage in self.stages:
            weight = stage.linear.weight
            if self.weights == "orthogonal":
                nn.init.orthogonal_(weight, self.gain)
            else:
                nn.init.normal_(weight, 0.0, math.sqrt(self.variance(stage.linear)))

    def init(self) -> State:
        """Of each draw and layer, inner products (draws, layers, 3): aa, bb, ab of activations, and of gradients."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> object:
            return lambda module, given, out: outputs.__setitem__(name, out)

        module = self.module.to(torch.float64)
        parts = dict(module.named_modules())
        handles = [parts[stage.name].register_forward_hook(keep(stage.name)) for stage in self.stages]
        forward, backward = [], []
        x = self.inputs.reshape(2, *self.subject.data.inputs.shape[1:])
        with seeded(self.seed), torch.enable_grad():
            for _ in range(self.draws):
                with torch.no_grad():
                    self.draw()
                y = module(x.clone().requires_grad_())
                u = torch.randn(1, *y.shape[1:], dtype=y.dtype).expand_as(y)
                layers = [outputs[stage.name] for stage in self.stages[:-1]]
                slopes = torch.autograd.grad(y, layers, u)
                forward.append(torch.stack([products(h.detach()) / h.shape[1] for h in layers]))
                backward.append(torch.stack([products(g) for g in slopes]) / float(u[0].square().sum()))
        for handle in handles:
            handle.remove()
        return {"forward": torch.stack(forward), "backward": torch.stack(backward)}

    @cached_property
    def theory(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """(variance, correlation) of activations and of gradients at each layer."""
        x = self.inputs
        first = self.stages[0]
        q, c = self.variance(first.linear) * float(x[0].square().sum()), self.correlation
        forward, factors = [(q, c)], []
        for stage in self.stages[1:]:
            found = moments(stage.activation, q, c)
            weight = stage.branch**2 * self.variance(stage.linear) * stage.linear.in_features
            s = stage.skip**2
            factors.append((s + weight * found.slope_square, s + weight * found.slope_product))
            cov = s * q * c + weight * found.product
            q = s * q + weight * found.square
            c = cov / q
            forward.append((q, c))
        backward = [(1.0, 1.0)]
        for size, common in reversed(factors):
            above = backward[0]
            backward.insert(0, (above[0] * size, above[1] * common / size))
        return forward[:-1], backward[:-1]

    def step(self, state: State, k: int) -> tuple[State, Values]:
        values = {"layer": torch.tensor(float(k), dtype=torch.float64)}
        for name, part, told in (
            ("activation", state["forward"][:, k], self.theory[0][k]),
            ("gradient", state["backward"][:, k], self.theory[1][k]),
        ):
            mean, error = mean_and_error(part[:, 0])
            c, c_error = ratio_of_means(part)
            values |= {f"{name}_variance": mean, f"{name}_variance_error": error}
            values |= {f"{name}_correlation": c, f"{name}_correlation_error": c_error}
            values |= {
                f"{name}_variance_theory": c.new_tensor(told[0]),
                f"{name}_correlation_theory": c.new_tensor(told[1]),
            }
        return state, values

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """The correlation of gradients at the first layer; what it were if activations were uncorrelated at every layer
        (each then leaves (skip² + w/4)/(skip² + w/2) of it, w = branch² n Var W, with ReLU: ½, with a skip ¾ where
        w = 2); and by what factor the layers next to input and output leave it."""
        c = seen["gradient_correlation"]
        alone = 1.0
        for stage in self.stages[1:]:
            weight = stage.branch**2 * self.variance(stage.linear) * stage.linear.in_features
            found = moments(stage.activation, 1.0, 0.0)
            s = stage.skip**2
            alone *= (s + weight * found.slope_product) / (s + weight * found.slope_square)
        return {
            "shattered": c[0],
            "shattered_if_uncorrelated": c.new_tensor(alone),
            "shattered_ratio": c[0] / alone,
            "first_factor": c[0] / c[min(1, len(c) - 1)],
            "last_factor": c[max(0, len(c) - 2)] / c[-1],
        }


def called(module: nn.Module) -> str:
    """The name of an activation."""
    return next((name for name, make in ACTIVATIONS.items() if type(make()) is type(module)), type(module).__name__)


def products(rows: Tensor) -> Tensor:
    """aa, bb, ab (3,) of two rows (2, n)."""
    a, b = rows.flatten(1)
    return torch.stack([a @ a, b @ b, a @ b])


def ratio_of_means(samples: Tensor) -> tuple[Tensor, Tensor]:
    """mean ab / √(mean aa · mean bb) of samples (draws, 3) of aa, bb, ab, and its standard error (delta method)."""
    aa, bb, ab = samples.mean(0)
    size = (aa * bb).sqrt()
    ratio = ab / size
    each = samples[:, 2] / size - ratio / 2 * (samples[:, 0] / aa + samples[:, 1] / bb)
    return ratio, each.std() / len(samples) ** 0.5
