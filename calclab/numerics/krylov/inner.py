"""Inner products in float64 over a basis of another type, and a basis kept orthogonal by them.

A float32 inner product of 272,000 entries is off by 8e-5 of its size, one of 11 million by 3e-3: more than the
residuals asked for. The vectors may stay in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

ENTRIES = 2**20  # how many entries are held in float64 at once


def wide(device: torch.device) -> torch.dtype:
    """The widest type that the device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def inner(Q: Tensor, w: Tensor) -> Tensor:
    """Q w (m,) or Q W (m, p), summed in float64, for rows Q (m, n) and w (n,) or W (n, p)."""
    kind = wide(Q.device)
    if Q.dtype == kind:
        return Q @ w
    total = torch.zeros(len(Q), *w.shape[1:], dtype=kind, device=Q.device)
    width = max(1, ENTRIES // max(1, len(Q)))
    for first in range(0, Q.shape[1], width):
        piece = slice(first, first + width)
        total += Q[:, piece].to(kind) @ w[piece].to(kind)
    return total


def norm(w: Tensor) -> Tensor:
    """‖w‖ (), summed in float64."""
    return inner(w[None], w)[0].sqrt()


def orthogonalise(Q: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """h (m,) and w - Qᵀh, orthogonal to the rows of Q (m, n): Gram-Schmidt, twice (Giraud et al. 2005).

    What the first pass leaves, in the basis's own type, the second one measures in float64: h + its correction are the
    coefficients of w to that precision.
    """
    h = Q @ w
    w = w - h @ Q
    correction = inner(Q, w)
    return h.to(correction.dtype) + correction, w - correction.to(w.dtype) @ Q


def gaussian(n: int, like: Tensor, seed: int, draw: int) -> Tensor:
    """A standard normal vector (n,), the ``draw``-th of its seed."""
    generator = torch.Generator(like.device).manual_seed(seed * 1_000_003 + draw)
    return torch.randn(n, generator=generator, dtype=like.dtype, device=like.device)
