"""How much a network can stretch: between the largest ‖J‖ seen and the product of its layers' norms.

The first is a lower bound for the Lipschitz constant wherever the network is differentiable, the second an upper one
(Szegedy et al. 2014, section 4.3), often by far too large: layers seldom stretch the same direction. A norm found by
products carries its residual upwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from calclab.numerics.jacobian import Layer, Map, golub_kahan, products
from calclab.numerics.jacobian.layers import passes, scale
from calclab.topic.words import listing

STEEPEST = {  # the largest |slope| of an activation
    nn.ReLU: 1.0,
    nn.Tanh: 1.0,
    nn.Sigmoid: 0.25,
    nn.Softplus: 1.0,
    nn.LogSigmoid: 1.0,
    nn.Hardtanh: 1.0,
    nn.ReLU6: 1.0,
    nn.Softsign: 1.0,
    nn.Tanhshrink: 1.0,
    nn.GELU: 1.1289041617,  # at √2
    nn.SiLU: 1.0998393201,  # at 2.3994
}


@dataclass(frozen=True)
class Bound:
    """``norms`` by layer; ``missing`` names the layers of which none is known."""

    norms: dict[str, float]
    missing: tuple[str, ...]

    @property
    def product(self) -> float:
        return prod(self.norms.values()) if not self.missing else float("inf")


def bound(layers: Sequence[Layer] | None) -> Bound:
    """Norms of all layers that stretch or shrink."""
    if layers is None:
        return Bound({}, ("no plain sequence of layers",))
    norms: dict[str, float] = {}
    missing = []
    for layer in layers:
        if passes(layer.module):
            continue
        found = norm(layer)
        if found is None:
            missing.append(f"{layer.name} ({type(layer.module).__name__})")
        else:
            norms[layer.name] = found
    return Bound(norms, tuple(missing))


def norm(layer: Layer) -> float | None:
    """The largest factor by which the layer stretches a difference of two inputs; None where none is known."""
    module = layer.module
    own = STEEPEST.get(type(module))
    if own is None and type(module).__name__ == "Softplus" and not any(True for _ in module.parameters()):
        own = 1.0
    if type(module) in (nn.ELU, nn.CELU):
        own = max(1.0, float(module.alpha)) if isinstance(module, nn.ELU) else 1.0
    if type(module) is nn.LeakyReLU:
        own = max(1.0, abs(module.negative_slope))
    if own is not None:
        return own
    constant = scale(module)
    if constant is not None:
        return float(constant.abs().max())
    if type(module) is nn.Linear:
        if max(module.weight.shape) <= 1000:
            return float(torch.linalg.matrix_norm(module.weight.detach(), 2))
        return matrix_free(layer, module.weight)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return matrix_free(layer, module.weight)
    if type(module) in (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
        return matrix_free(layer, None)
    if type(module) in (nn.MaxPool1d, nn.MaxPool2d) and module.kernel_size == module.stride and module.padding == 0:
        return 1.0  # windows lie apart: every input is chosen at most once
    return None


def matrix_free(layer: Layer, weight: Tensor | None) -> float:
    """σ_1 plus its residual of a linear layer (its bias moves all outputs alike)."""
    dtype = torch.float64 if weight is None else weight.dtype
    device = torch.device("cpu") if weight is None else weight.device
    size = prod(layer.before)
    x = torch.zeros(size, dtype=dtype, device=device)

    def rows(z: Tensor) -> Tensor:
        return layer.module(z.reshape(len(z), *layer.before)).reshape(len(z), -1)

    made = products(Map(lambda z: rows(z[None])[0], x, prod(layer.after), rows), x[None])
    maker = torch.Generator(device=device).manual_seed(0)
    start = torch.randn(1, size, generator=maker, dtype=dtype, device=device)
    found = golub_kahan(made.push, made.pull, start, prod(layer.after), tol=1e-6)
    return float(found.values[0, 0] + found.residuals[0, 0])


def sentence(seen: float, found: Bound) -> str:
    """The bracket in words."""
    low = f"Lipschitz constant at least {seen:.4g}"
    if found.missing:
        return f"{low} (no upper bound: {listing(found.missing, 2)})"
    return f"{low} and at most {found.product:.4g} (the product of the layers' norms)"
