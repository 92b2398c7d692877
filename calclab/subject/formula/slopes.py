"""Functions whose derivatives torch computes with lost digits, given right ones of every order.

torch's σ' = s(1 − s) and tanh' = 1 − t² cancel once s or |t| is near 1 (at x = 20 seven digits are gone), expm1' is
written as expm1 + 1, softplus is linear beyond 20, and lgamma'' is off by 5e-10. Here each is an autograd function with
torch's value and a slope made of functions of this file, so that it can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Map = Callable[[Tensor], Tensor]
SHIFT = 16
# B_2k / 2k, k = 1, 2, ...: the coefficients of x^-2k in ψ(x) (DLMF 5.11.2).
SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def with_slope(value: Map, slope: Map) -> Map:
    """The map ``value`` with the derivative ``slope``; works under vmap, grad, jvp and their nestings."""

    class Sloped(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return value(x)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
            return cotangents[0] * slope(ctx.saved_tensors[0])

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
            return tangents[0] * slope(ctx.saved_tensors[0])

    return Sloped.apply


def constant(value: float, like: Tensor) -> Tensor:
    """A number as a tensor: forward mode takes a float for float64, whatever the dtype of ``like``."""
    return torch.tensor(value, dtype=like.dtype, device=like.device)


def tanh_slope(x: Tensor) -> Tensor:
    """1 − tanh², as 4 σ(2x) σ(−2x) where the difference would cancel."""
    t, double = tanh(x), x + x
    return torch.where(x.abs() < 1, torch.rsub(t * t, 1), constant(4.0, x) * sigmoid(double) * sigmoid(-double))


def digamma(x: Tensor) -> Tensor:
    """ψ(x): shifted by ψ(x) = ψ(x + 1) − 1/x to where its series is exact; reflected below 1/2 (DLMF 5.5.2, 5.5.4)."""
    reflect, π = x < 0.5, constant(math.pi, x)
    y = torch.where(reflect, torch.rsub(x, 1), x)
    shifts = torch.arange(SHIFT, dtype=x.dtype, device=x.device)
    far = y + constant(SHIFT, x)
    inverse = (far * far).reciprocal()
    series = torch.zeros_like(far)
    for coefficient in reversed(SERIES):
        series = (series + constant(coefficient, x)) * inverse
    sums = (y.unsqueeze(-1) + shifts).reciprocal().sum(-1)
    value = torch.log(far) - constant(0.5, x) * far.reciprocal() - series - sums
    inner = torch.where(reflect, x, torch.full_like(x, 0.25))  # keeps tan away from its poles where it is not used
    return torch.where(reflect, value - π * torch.tan(π * inner).reciprocal(), value)


sigmoid = with_slope(torch.sigmoid, lambda x: tanh_slope(x * constant(0.5, x)) * constant(0.25, x))
tanh = with_slope(torch.tanh, tanh_slope)
softplus = with_slope(lambda x: -logsigmoid(-x), sigmoid)
expm1 = with_slope(torch.expm1, torch.exp)
lgamma = with_slope(torch.lgamma, digamma)
acosh = with_slope(torch.acosh, lambda x: torch.rsqrt(x - constant(1.0, x)) * torch.rsqrt(x + constant(1.0, x)))


def gamma(x: Tensor) -> Tensor:
    """Γ(x); its sign below 0 alternates between the poles."""
    odd = torch.remainder(torch.floor(x.detach()), 2) == 1
    return torch.where((x < 0) & odd, -1.0, 1.0).to(x.dtype) * torch.exp(lgamma(x))


def cbrt(x: Tensor) -> Tensor:
    """The real cube root."""
    return torch.sign(x) * torch.abs(x).pow(1 / 3)
