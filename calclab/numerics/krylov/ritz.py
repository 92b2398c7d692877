"""Ritz pairs: what a basis says of eigenvalues, and how far each can be off.

A basis V with orthonormal rows has been multiplied, A Vᵀ = Vᵀ H + Uᵀ B, with U orthonormal and orthogonal to V; H and B
are inner products, measured. For H s = λ s, y = Vᵀ s has ‖A y - λ y‖² = ‖H s - λ s‖² + ‖B s‖², and some eigenvalue of A
lies within it (Parlett 1998, theorem 4.5.1). Where the next Ritz value is a gap away, residual²/gap is nearer to the
error (theorem 11.7.1), but the true gap is unknown: an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def ritz(H: Tensor, B: Tensor, noise: float) -> Ritz:
    """The Ritz pairs of H (m, m) with coupling B (p, m); ``noise`` is what rounding may add, relative to the scale."""
    λ, S = torch.linalg.eigh((H + H.T) / 2)
    scale = λ.abs().max()
    rough = torch.linalg.vector_norm(H @ S - S * λ, dim=0)
    residuals = torch.hypot(rough, torch.linalg.vector_norm(B @ S, dim=0)) + noise * scale
    return Ritz(λ, S, residuals, scale, noise, rough)
