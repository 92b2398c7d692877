"""Rules on [0, 1]: Gauss-Legendre with n nodes, and the pair of Gauss 7 and Kronrod 15 that tells its own error."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# Piessens et al., QUADPACK (1983), qk15: nodes of Kronrod's rule on [0, 1) from the outermost, every second one Gauss's
NODES = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691258630,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
    0.0,
)
KRONROD = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
    0.209482141084727828012999174891714,
)
GAUSS = (
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
    0.417959183673469387755102040816327,
)


@lru_cache
def legendre(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights (n,) of Gauss-Legendre on [0, 1]: exact up to degree 2n - 1. Made in float64, then rounded."""
    from numpy.polynomial.legendre import leggauss

    nodes, weights = (torch.from_numpy(part) for part in leggauss(n))
    return ((nodes + 1) / 2).to(device, dtype), (weights / 2).to(device, dtype)


@lru_cache
def kronrod(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes (15,) on [0, 1]; weights (2, 15): of Kronrod's rule (exact to degree 22), and of it minus Gauss's (13)."""
    half = torch.tensor(NODES, dtype=torch.float64)
    nodes = torch.cat([-half[:-1], half.flip(0)])
    fine = torch.tensor(KRONROD, dtype=torch.float64)
    fine = torch.cat([fine[:-1], fine.flip(0)])
    coarse = torch.zeros_like(fine)
    gauss = torch.tensor(GAUSS, dtype=torch.float64)
    coarse[1::2] = torch.cat([gauss[:-1], gauss.flip(0)])
    weights = torch.stack([fine, fine - coarse]) / 2
    return ((nodes + 1) / 2).to(device, dtype), weights.to(device, dtype)
