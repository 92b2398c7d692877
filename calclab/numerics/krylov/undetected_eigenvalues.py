"""What a Lanczos run from a random start can have missed, as a bound that holds with a stated probability.

After j products from z, the polynomials p_0, ..., p_j orthonormal in the measure of z are known. No eigenvalue μ has
more of ‖z‖² than ‖z‖²/Σ p_k(μ)² (Christoffel function). For z normal, the share of an eigenvector is the square of a
standard normal number, and is below t = 2 erfinv(δ)² with probability δ only. So no eigenvalue lies beyond the μ where
Σ p_k(μ)² = ‖z‖²/t, but for a probability δ (Van Dorsselaer, Hochstenbach and van der Vorst 2000).

>>> α, β = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])  # p_0 = 1, p_1 = x, p_2 = x² - 1
>>> round(logarithm_of_kernel([0.0, 0.0], [1.0, 1.0], 2.0), 6) == round(log(1 + 4 + 9), 6)
True
>>> beyond(α, β, 4.0, 0.1) < beyond(α, β, 4.0, 0.01)  # who wants to be surer knows less
True
"""

from __future__ import annotations

from functools import cache
from math import erf, exp, hypot, inf, isfinite, log, pi, sqrt, ulp

import torch
from torch import Tensor

LARGE = 1e100
HALVINGS = 30


def logarithm_of_kernel(α: list[float], β: list[float], x: float) -> float:
    """log Σ p_k(x)², k = 0, ..., j, for the tridiagonal of α (j,) with β (j,) below it, the last left over."""
    before, p, total, scale, last = 0.0, 1.0, 1.0, 0.0, 0.0
    for a, b in zip(α, β, strict=True):
        before, p = p, ((x - a) * p - last * before) / b
        total, last = total + p * p, b
        if total > LARGE:
            size = sqrt(total)
            before, p, total, scale = before / size, p / size, 1.0, scale + log(total)
    return log(total) + scale


@cache
def share(risk: float) -> float:
    """t with P(g² < t) = ``risk`` for a standard normal g: t = 2 erfinv(risk)²."""
    root = risk * sqrt(pi / 2)
    for _ in range(20):  # Newton's method for erf(root / √2) = risk
        root -= (erf(root / sqrt(2)) - risk) / (sqrt(2 / pi) * exp(-root * root / 2))
    return root * root


def beyond(α: Tensor, β: Tensor, square: float, risk: float) -> float:
    """μ: above it the operator has no eigenvalue, but for the probability ``risk``; ``square`` is ‖z‖².

    α, β (j,): the diagonal of Lanczos' tridiagonal and what stands below it, the last β being the norm left over.
    """
    T = torch.diag(α) + torch.diag(β[:-1], 1) + torch.diag(β[:-1], -1)
    low = float(torch.linalg.eigvalsh(T)[-1])
    diagonal, below = α.tolist(), β.tolist()
    if 0.0 in below or not isfinite(low):
        return low if isfinite(low) else inf
    goal = log(max(1.0, square / share(risk)))
    spread = max(*below, 8 * ulp(low))
    while logarithm_of_kernel(diagonal, below, low + spread) < goal:
        spread *= 2
    high = low + spread
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if logarithm_of_kernel(diagonal, below, middle) < goal:
            low = middle
        else:
            high = middle
    return high


def bounds_on_others(
    table: Tensor, coupling: Tensor, first: int, counts: tuple[int, int], square: float, risk: float
) -> tuple[Tensor, Tensor]:
    """Above which () and below which () no eigenvalue lies but the ``counts`` wanted, from a look that began at column
    ``first``: A = [[W, 0, E], [0, R, C], [Eᵀ, Cᵀ, P]].

    W are the pairs wanted, R the other Ritz values of the first columns, P the operator on what is orthogonal to them,
    bounded by the look. The eigenvalues beside W lie below those of [[max R, ‖C‖], [‖C‖, max P]], plus ‖E‖ (Weyl's
    inequality), and for the smallest in the same way.
    """
    H = (table + table.T) / 2
    head, outside = H[:first, :first], torch.cat([table, coupling])[first:, :first]
    look = H[first:, first:]
    β = torch.cat([look.diagonal(1), coupling[:, -1].norm()[None]])
    λ, S = torch.linalg.eigh(head)
    reach = outside @ S
    bounds = []
    for sign, count in zip((1, -1), counts, strict=True):
        at = λ.argsort(descending=sign > 0)
        wanted, rest = at[:count], at[count:]
        corner = beyond(sign * look.diagonal(), β.abs(), square, risk)
        if len(rest):
            a, c = float((sign * λ[rest]).max()), float(torch.linalg.matrix_norm(reach[:, rest], 2))
            corner = (a + corner) / 2 + hypot((a - corner) / 2, c)
        if count:
            corner += float(torch.linalg.matrix_norm(reach[:, wanted], 2))
        bounds.append(λ.new_tensor(sign * corner))
    return bounds[0], bounds[1]
