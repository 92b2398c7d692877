"""How far apart two numbers may be, in one place. Every figure is relative to the size of what is checked.

``certified``: a number within 1e-10 of the proven one (float64) has kept its digits; 4.5e5 eps leaves room for honest
rounding in long formulas. In float32 1e-4 (840 eps), in smaller types sqrt(eps).
``identity``: two floating-point ways to one number may differ by 2^13 eps: 1.8e-12 and 1e-3. Up to sqrt(eps) it is
rounding that an ill-conditioned formula has magnified (suspect), beyond it the identity does not hold (refuted).
``resolve``: an estimate must tell slopes apart that differ by this much before it may say consistent: a gradient wrong
by 1e-4 is never consistent in float64. ``refute``: gaps below it are never held against a number. Differences of
float32 values are too rough for more than 5 in 100, least of all through the many kinks of a ReLU network.
``ROUND``: a number below its own resolution is taken for zero where the function varies 1e4 times as much nearby.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

RICHARDSON = 10.0  # times its own error estimate: bounds the true error on 55 of 59 functions measured
ROUNDINGS = 8.0  # times what rounding every step once can do: the most that rounding explains
ZERO = 64.0  # eps, of 1 or the largest entry: the most that a number may be that is proven to be zero
ROUND = 1e-4


@dataclass(frozen=True)
class Tolerance:
    eps: float
    digits: int
    certified: float
    identity: float
    identity_suspect: float
    resolve: float
    refute: float


@cache
def tolerance_of(dtype: torch.dtype) -> Tolerance:
    """The tolerances for numbers computed in ``dtype``."""
    eps = torch.finfo(dtype).eps
    root = eps**0.5
    certified, resolve, refute = {
        torch.float64: (1e-10, 1e-5, 1e-6),
        torch.float32: (1e-4, 5e-2, 5e-2),
    }.get(dtype, (root, 0.1, root))
    digits = {torch.float64: 16, torch.float32: 7}.get(dtype, 3)
    return Tolerance(eps, digits, certified, 2**13 * eps, max(root, 2**13 * eps), resolve, refute)
