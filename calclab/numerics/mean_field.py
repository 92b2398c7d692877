"""Signals in wide random networks: how layers change the size of two inputs' activations and the angle between them.

Pre-activations of a wide layer with weights N(0, σ_w²/fan-in) are Gaussian: of variance q, and between two inputs of
correlation c. A layer after an activation φ makes of them, and of gradients on their way back (Poole et al. 2016;
Schoenholz et al. 2017, equations 2 to 5),

    forward:   q' = σ_w² E φ(u)²,     q' c' = σ_w² E φ(u)φ(v),     u, v ~ N(0, q) of correlation c
    backward:  variance times σ_w² E φ'(u)²,    covariance times σ_w² E φ'(u)φ'(v)

For ReLU with θ = arccos c the means are closed (Cho and Saul 2009): E φφ = q (sin θ + (π - θ) cos θ)/(2π),
E φ'φ' = (π - θ)/(2π); with He's σ_w² = 2 sizes are kept, and covariances of gradients fall by 1 - θ/π a layer: by ½
where activations are uncorrelated. Others are integrated by Gauss and Hermite's rule. With the means over weights
alone, not in the limit of width, the two variances hold at every width for ReLU and for identity.

>>> relu = moments("relu", 1.0, 0.0)
>>> round(2 * relu.square, 12), round(2 * relu.product, 6), round(2 * relu.slope_product, 12)  # 1, 1/π, 1/2
(1.0, 0.31831, 0.5)
>>> tanh = moments("tanh", 1e-6, 0.3)  # nearly linear
>>> round(tanh.product / tanh.square, 5), round(tanh.slope_product, 5)
(0.3, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from calclab.errors import UserError

NODES = 80  # of the rule in each of two directions
SMOOTH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "softplus": torch.nn.functional.softplus,
}


class Moments(NamedTuple):
    """E φ(u)², E φ(u)φ(v), E φ'(u)², E φ'(u)φ'(v)."""

    square: float
    product: float
    slope_square: float
    slope_product: float


def moments(activation: str, q: float, c: float) -> Moments:
    """Of an activation by name, for Gaussian u, v of variance q > 0 and correlation c in [-1, 1]. UserError for one
    that is not known here."""
    c = min(max(c, -1.0), 1.0)
    if activation == "identity":
        return Moments(q, q * c, 1.0, 1.0)
    if activation == "relu":
        θ = math.acos(c)
        mean = q * (math.sin(θ) + (math.pi - θ) * c) / (2 * math.pi)
        return Moments(q / 2, mean, 0.5, (math.pi - θ) / (2 * math.pi))
    if activation not in SMOOTH:
        raise UserError(f"theory knows no activation {activation}. There are: identity, relu, {', '.join(SMOOTH)}")
    x, w = rule()
    u = math.sqrt(q) * x
    v = c * u[:, None] + math.sqrt(max(0.0, 1 - c * c)) * u[None, :]
    φu, du = value_and_slope(activation, u)
    φv, dv = value_and_slope(activation, v)
    inner, slopes = (w * φv).sum(1), (w * dv).sum(1)
    return Moments(*(float((w * part).sum()) for part in (φu * φu, φu * inner, du * du, du * slopes)))


@cache
def rule() -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights (NODES,) for means over a standard normal."""
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.from_numpy(x), torch.from_numpy(w / w.sum())


def value_and_slope(activation: str, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """φ and φ', entry by entry."""
    leaf = u.clone().requires_grad_()
    value = SMOOTH[activation](leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope
