"""How the eigenvalues lie: how many stand apart, and how many lie where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.numerics.krylov import Pairs
from calclab.numerics.krylov.density import share_between

SIDE, DECADES = 25, 6  # bins on each side of zero, the first of them linear; decades that the others reach down


def outliers(λ: Tensor, classes: int) -> int | None:
    """How many of the largest eigenvalues stand apart: the place of the largest ratio λ_i / λ_{i+1} among the first
    ``classes`` + 2 of them (m,), descending. None where fewer than that are positive.

    Sagun et al. 2017 and Papyan 2019 find classes - 1 in trained networks.
    """
    first = λ[: classes + 2]
    if len(first) < classes + 2 or not bool((first > 0).all()):
        return None
    return int((first[:-1] / first[1:]).argmax()) + 1


def counted(λ: Tensor, classes: int) -> Tensor:
    """The same as a scalar to log, NaN for None."""
    count = outliers(λ, classes)
    return torch.tensor(torch.nan if count is None else count, dtype=torch.float64)


def edges_of(scale: float, resolution: float) -> Tensor:
    """Edges (51,), rising: evenly spaced in log|λ| from ``scale`` down to ``resolution``, or six decades; what is
    smaller has one bin on each side of zero."""
    scale = scale * (1 + 1e-9) or 1.0
    linear = min(max(resolution, scale * 10.0**-DECADES), scale / 10)
    ratio = (scale / linear) ** (1 / (SIDE - 1))
    side = torch.tensor([linear * ratio**i for i in range(SIDE - 1)] + [scale], dtype=torch.float64)
    return torch.cat([-side.flip(0), side.new_zeros(1), side])


@dataclass(frozen=True)
class Bounds:
    """All eigenvalues lie between ``least`` and ``most``, those that were not found one by one between ``low`` and
    ``high``."""

    least: float = -math.inf
    most: float = math.inf
    low: float = -math.inf
    high: float = math.inf


def bounds(pairs: Pairs, nodes: Tensor, *, positive: bool) -> Bounds:
    """What the run says of both ends: λ ± ‖Av - λv‖ of the pairs found there, or further out where a node of the
    density was (nodes (m,) are values of vᵀAv, and so within the spectrum). Unbounded where nothing was looked for."""
    upper, lower = pairs.values + pairs.residuals, pairs.values - pairs.residuals
    top, bottom = slice(None, pairs.top), slice(pairs.top, None)
    least = float(lower[bottom].min()) if len(lower[bottom]) else -math.inf
    most = float(upper[top].max()) if len(upper[top]) else math.inf
    low = float(lower[bottom].max()) if bool(pairs.converged[bottom].all()) and math.isfinite(least) else least
    high = float(upper[top].min()) if bool(pairs.converged[top].all()) and math.isfinite(most) else most
    if positive:
        least, low = max(least, 0.0), max(low, 0.0)
    if len(nodes):
        a, b = float(nodes.min()), float(nodes.max())
        least, most, low, high = min(least, a), max(most, b), min(low, a), max(high, b)
    return Bounds(least, most, low, high) if least < most and low < high else Bounds()


def bins(known: Tensor, values: Tensor, weights: Tensor, resolution: float, within: Bounds | None = None) -> Tensor:
    """How many eigenvalues lie where, 50 rows (from, to, how many): those ``known`` (k,), and values (m,) that stand
    for weights (m,) of them each, spread over the resolution as a normal curve of half its width, but not beyond
    what is known of all: no bin reaches there either (it then has no width)."""
    within = within or Bounds()
    known, values, weights = (part.double().cpu() for part in (known, values, weights))
    known = known[known.isfinite()].clamp(within.least, within.most)
    keep = values.isfinite() & (weights > 0)
    values, weights = values[keep].clamp(within.low, within.high), weights[keep]
    every = torch.cat([known, values])
    edges = edges_of(float(every.abs().max()) if len(every) else 0.0, resolution)
    at = torch.bucketize(known, edges, right=True) - 1
    counts = edges.new_zeros(2 * SIDE).index_add_(0, at.clamp(0, 2 * SIDE - 1), torch.ones_like(known))
    if len(values):
        σ = edges.new_tensor(resolution / 2)
        low, high = max(within.low, float(edges[0])), min(within.high, float(edges[-1]))
        reached = edges.clamp(low, high)[:, None]
        below = torch.special.ndtr((reached - values) / σ) - torch.special.ndtr((low - values) / σ)
        counts = counts + (below / share_between(values, σ, low, high) @ weights).diff()
    edges = edges.clamp(within.least, within.most)
    return torch.stack([edges[:-1], edges[1:], counts], 1)
