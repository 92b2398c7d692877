"""Sharpness and its relatives, of any symmetric operator by products alone, each with how far it can be off.

    λmax(H)                          beyond 2/lr gradient descent cannot stay (Cohen et al. 2021, arXiv 2103.00065)
    λmax(C H C + diag d)             what a rule with rates of its own for every entry feels (Cohen et al. 2022, arXiv
                                     2207.14484, section 3); `optimizer.stability` says which C and d a rule has
    E[gᵀH g / ‖g‖²], g = ∇L_B        batch sharpness, g and H of the same mini-batch: what mini-batches hold at 2/lr
                                     (Andreyev and Beneventano 2025, arXiv 2412.20553)

λmax is found from below. What can have been missed is bounded by the same products, with `lanczos.RISK`: ``bound`` is
true also where the start is an eigenvector that is no longer the largest one's. An unset bound is infinite, not 0.

>>> from calclab.numerics.operators import hessian
>>> d = torch.tensor([4.0, 1.0, -9.0], dtype=torch.float64)
>>> H = hessian(lambda x: (d * x * x).sum() / 2, torch.zeros(3, dtype=torch.float64))
>>> found = sharpness(H)
>>> round(float(found.value), 9), found.bound < 1e-9
(4.0, True)
>>> felt = scaled(H, torch.tensor([0.5, 3.0, 1.0]).double())  # λ of C H C: 1, 9, -9
>>> round(float(sharpness(felt).value), 9)
9.0
>>> g = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
>>> round(float(along(H, g)), 9)  # (4 + 1)/2
2.5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from calclab.numerics.krylov.basis import gaussian
from calclab.numerics.lanczos import Ritz, bounded
from calclab.numerics.linear import LinearOperator, derived

PRODUCTS = 24  # the most of one look
WITHIN = 0.005  # how far above the value a missed eigenvalue may lie, in terms of |λ|
ASIDE = 1.0  # the length of the random part of a start, in terms of the vector found before


def sharpness(
    A: LinearOperator,
    near: Tensor | None = None,
    *,
    seed: int = 0,
    most: int = PRODUCTS,
    within: float = WITHIN,
    eps: float | None = None,
) -> Ritz:
    """λmax of A (n, n) with its bound, from ``near`` (n,), the vector found before, and a random direction.

    Up to ``most`` products, until nothing more than ``within`` of |λ| above the value can have been missed. Which are
    not many fewer with ``near`` than without: to know that an eigenvector was not overlooked takes as many as to find
    it. ``eps`` is of the type that A computes in, where that is coarser than its own. Not finite: NaN, bound inf.
    """
    n = A.shape[0]
    random = gaussian(n, torch.zeros(0, dtype=A.dtype, device=A.device), seed, 0)
    if near is None or not bool(near.norm() > 0):
        return bounded(A, random, 1.0, within=within, most=most, eps=eps)
    share = ASIDE / sqrt(n)
    start = near / near.norm() + share * random
    return bounded(A, start, share, within=within, most=most, eps=eps)


def scaled(A: LinearOperator, c: Tensor, d: Tensor | None = None, sign: float = 1.0) -> LinearOperator:
    """C (± A) C + diag d, C = diag c: symmetric as A is; c, d (n,)."""
    c = c.to(A.device, A.dtype)[:, None]
    d = c.new_zeros(()) if d is None else d.to(A.device, A.dtype)[:, None]

    def by(A: LinearOperator) -> object:
        return lambda V: sign * c * (A @ (c * V)) + d * V

    return derived((A,), A.shape, by, by, A.symmetric)  # type: ignore[arg-type]


def along(A: LinearOperator, g: Tensor) -> Tensor:
    """gᵀA g / ‖g‖² (), the curvature along g (n,); NaN where g is zero. One product."""
    unit = g / g.norm()
    return unit @ (A @ unit)


@dataclass(frozen=True)
class BatchSharpness:
    """The mean of the curvatures along the gradients of so many ``batches``, with its standard error (inf of one)."""

    value: float
    error: float
    batches: int


def batch_sharpness(curvatures: Sequence[float]) -> BatchSharpness:
    """Of gᵀH g/‖g‖² of several mini-batches (`along`, g and H each of its own batch); a batch without gradient is none.

    >>> batch_sharpness([1.0, 3.0])
    BatchSharpness(value=2.0, error=1.0, batches=2)
    """
    own = [number for number in curvatures if isfinite(number)]
    count = len(own)
    if not count:
        return BatchSharpness(float("nan"), inf, 0)
    mean = sum(own) / count
    if count == 1:
        return BatchSharpness(mean, inf, 1)
    return BatchSharpness(mean, sqrt(sum((number - mean) ** 2 for number in own) / (count - 1) / count), count)
