"""Ritz pairs: what a basis says of eigenvalues, how far each can be off, and which are near enough to what is wanted.

A basis V with orthonormal rows has been multiplied, A Vᵀ = Vᵀ H + Uᵀ B, with U orthonormal and orthogonal to V; H and B
are inner products, measured. For H s = λ s, y = Vᵀ s has ‖A y - λ y‖² = ‖H s - λ s‖² + ‖B s‖², and some eigenvalue of A
lies within it (Parlett 1998, theorem 4.5.1). Where the next Ritz value is a gap away, residual²/gap is nearer to the
error (theorem 11.7.1), but the true gap is unknown: an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Eigenvalues (k,), unit vectors as columns (n, k), residuals ‖Av - λv‖ (k,), estimates of the error (k,).

    The first ``top`` are the largest, falling; the others the smallest, rising. ``products`` () were spent.
    ``upper`` () and ``lower`` (): every eigenvalue that is not among the top, or the bottom, lies below, or above, but
    for the stated risk; infinite where nothing was looked for.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    estimates: Tensor
    converged: Tensor
    products: Tensor
    top: int
    upper: Tensor
    lower: Tensor


@dataclass(frozen=True)
class Ritz:
    """Values (m,) rising, their coordinates as columns (m, m), residuals (m,), and ``scale`` () = the largest |λ|.

    ``noise`` is what rounding may add to a residual, relative to the scale; ``rough`` (m,) ‖H s - λ s‖ is what the
    products themselves have rounded, which no further product makes smaller.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    scale: Tensor
    noise: float
    rough: Tensor

    def ends(self, top: int, bottom: int) -> Tensor:
        """The places of the ``top`` largest, falling, then of the ``bottom`` smallest, rising."""
        m = len(self.values)
        return torch.cat([torch.arange(m - 1, m - 1 - min(top, m), -1), torch.arange(min(bottom, m))])

    def estimates(self) -> Tensor:
        """residual²/gap (m,), the gap reaching to where the next eigenvalue may lie; never above the residual."""
        if len(self.values) == 1:  # nothing is known of a gap
            return self.residuals
        gaps = (self.values[1:] - self.values[:-1]).clamp(min=0)
        gaps_below = torch.cat([self.values.new_full((1,), torch.inf), gaps - self.residuals[:-1]])
        gaps_above = torch.cat([gaps - self.residuals[1:], self.values.new_full((1,), torch.inf)])
        gap = torch.minimum(gaps_below, gaps_above)
        return torch.where(gap > self.residuals, self.residuals**2 / gap, self.residuals)


@lru_cache(maxsize=1)
def eigenpairs(H: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (m,) rising and eigenvectors as columns (m, m) of the symmetric part of H (m, m); see `ritz`."""
    λ, S = torch.linalg.eigh((H + H.T) / 2)
    return λ, S


@lru_cache(maxsize=1)
def ritz(H: Tensor, B: Tensor, noise: float) -> Ritz:
    """The Ritz pairs of H (m, m) with coupling B (p, m); ``noise`` is what rounding may add, relative to the scale.

    Several ask after one product, so the last are kept. Tensors are told apart as objects: change none in place.
    """
    λ, S = eigenpairs(H)
    scale = λ.abs().max()
    rough = torch.linalg.vector_norm(H @ S - S * λ, dim=0)
    residuals = torch.hypot(rough, torch.linalg.vector_norm(B @ S, dim=0)) + noise * scale
    return Ritz(λ, S, residuals, scale, noise, rough)


@dataclass(frozen=True)
class Goal:
    """The ``top`` largest and ``bottom`` smallest eigenvalues, to residuals of ``tol`` of the largest |λ|, or, if it is
    given, to an estimated error of ``accuracy`` of it."""

    top: int
    bottom: int
    tol: float
    accuracy: float | None

    def close(self, found: Ritz) -> Tensor:
        """Which pairs (m,) are near enough to what they stand for: within ``tol``, or all that rounding allows."""
        near = found.residuals <= torch.maximum(max(self.tol, 2 * found.noise) * found.scale, 2 * found.rough)
        if self.accuracy is not None:
            near = near | (found.estimates() <= self.accuracy * found.scale)
        return near

    def far(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) are wanted and not yet near enough."""
        wanted = torch.zeros_like(found.values, dtype=torch.bool)
        wanted[found.ends(self.top, self.bottom)] = True
        return wanted & ~self.close(found)

    def troubles(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) keep the wanted ones from standing: those far off, and others that may overtake."""
        m, λ, reach = len(found.values), found.values, found.residuals
        slack = max(self.tol, 2 * found.noise) * found.scale
        trouble = self.far(found)
        if 0 < self.top < m:
            trouble[: m - self.top] |= (λ + reach)[: m - self.top] > λ[m - self.top] + slack
        if 0 < self.bottom < m:
            trouble[self.bottom :] |= (λ - reach)[self.bottom :] < λ[self.bottom - 1] - slack
        return trouble

    def missed_at_a_glance(self, H: Tensor, B: Tensor, noise: float) -> bool:
        """Whether some pair wanted is not near enough, rounding of the products aside; False tells nothing.

        A few operations instead of all that `troubles` takes, since it is asked after every product.
        """
        λ, S = eigenpairs(H)
        residuals: list[float] = torch.linalg.vector_norm(B @ S, dim=0).tolist()
        values: list[float] = λ.tolist()
        m, scale = len(values), max(-values[0], values[-1])
        near = max(self.tol, 2 * noise) * scale
        fine = -1.0 if self.accuracy is None else self.accuracy * scale
        for i in (*range(max(0, m - self.top), m), *range(min(self.bottom, m))):
            if residuals[i] > max(near, fine):
                gap = min(values[i] - values[i - 1] if i else inf, values[i + 1] - values[i] if i + 1 < m else inf)
                if residuals[i] ** 2 > fine * gap:
                    return True
        return False
