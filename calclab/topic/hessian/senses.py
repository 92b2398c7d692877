"""Condition numbers, and in which sense: of |λ|, of the positive part, of A + δI; and how the eigenvalues of a network
stand apart.

The inverse of a matrix that is only known by its products is not: the smallest |λ| lies inside the spectrum, where no
Krylov method converges. What is certain is a lower bound: min |λ| <= ‖A v‖ for every unit vector v, so that the v of a
basis which A shortens most gives κ >= max|λ| / ‖A v‖. An upper bound needs a matrix that is definite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Spectrum
from calclab.numerics.krylov import Pairs
from calclab.numerics.krylov.density import share_between
from calclab.numerics.spectrum import Condition, Inertia

Values = dict[str, Tensor | str]


def condition_values(condition: Condition, threshold: float) -> Values:
    """A condition number as an answer's values: a number only where there is one, never a random one."""
    if condition.singular:
        return {"condition": "singular to working precision", "conditioning": "singular"}
    return {
        "condition": torch.tensor(condition.value, dtype=torch.float64),
        "conditioning": "well-conditioned" if condition.value <= threshold else "ill-conditioned",
    }


def condition_bounds(condition: Condition, suffix: str = "") -> Values:
    """Between what the condition number lies, where it is known."""
    ends = {} if condition.singular else {"low": condition.low, "high": condition.high}
    return {f"condition{suffix}_{name}": torch.tensor(end, dtype=torch.float64) for name, end in ends.items()}


def of_matrix(λ: Tensor, signs: Inertia, damping: float, *, proven: bool) -> Values:
    """Further senses for all eigenvalues (n,), ascending: of those that are positive by ``signs``, and of
    A + ``damping`` I. What is not ``proven`` is known to rounding."""
    n = len(λ)
    zero = (0.0 if proven else n * torch.finfo(λ.dtype).eps) * λ.abs().max()
    found: Values = {}
    positive = λ[n - signs.positive :]
    if 0 < len(positive) < n:
        found["condition_positive"] = (positive[-1] / positive[0]).double()
    if damping:
        found |= damped(float(λ[0] - zero), float(λ[0]), float(λ[-1]), float(λ[-1] + zero), damping)
    return found


def damped(least: float, smallest: float, largest: float, most: float, damping: float) -> Values:
    """(λmax + δ) / (λmin + δ) for ``least`` <= λmin <= ``smallest`` and ``largest`` <= λmax <= ``most``."""
    if smallest + damping <= 0:
        return {"condition_damped": "not positive definite: damping must be above the lowest eigenvalue's size"}
    low = (largest + damping) / (smallest + damping)
    high = (most + damping) / (least + damping) if least + damping > 0 else float("inf")
    ends = {"": low, "_low": low, "_high": high}
    return {f"condition_damped{name}": torch.tensor(end, dtype=torch.float64) for name, end in ends.items()}


@dataclass(frozen=True)
class Ends:
    """Where the ends of a spectrum are: ``least`` <= λmin <= ``smallest``, ``largest`` <= λmax <= ``most``.

    The outer bounds hold but for the risk that the search was given; they are infinite where it was not finished.
    ``low`` <= κ of |λ|, ``low_positive`` <= κ of the positive eigenvalues; ``scale`` is the largest |λ| found.
    """

    least: float
    smallest: float
    largest: float
    most: float
    low: float
    low_positive: float
    scale: float

    @property
    def definite(self) -> bool:
        return self.least > 0 or self.most < 0

    @property
    def sign(self) -> str:
        """What is certain of the signs."""
        if self.smallest < 0 < self.largest:
            return "indefinite"
        if self.definite:
            return "positive definite" if self.least > 0 else "negative definite"
        if self.scale == 0:
            return "zero"
        seen = "positive" if self.smallest > 0 else "negative" if self.largest < 0 else ""
        return f"{seen} as far as was seen" if seen else "of uncertain sign"


def ends(pairs: Pairs, every: Pairs, shortest: float, *, positive: bool = False) -> Ends:
    """From the pairs wanted, from all Ritz pairs of the basis, and from ``shortest`` >= min |λ|.

    ``positive``: no eigenvalue is negative, as of a Gauss-Newton matrix.
    """
    θ, r = every.values, every.residuals
    ok = θ.isfinite() & r.isfinite()
    θ, r = θ[ok], r[ok]
    if not len(θ):
        nan = float("nan")
        return Ends(-float("inf"), nan, nan, float("inf"), 1.0, 1.0, 0.0)
    reach = (θ + r).max(), (θ - r).min()
    most = max(float(reach[0]), float(pairs.upper))
    least = min(float(reach[1]), float(pairs.lower))
    least = max(least, 0.0) if positive else least
    largest, smallest = float((θ - r).max()), float((θ + r).min())
    sizes = θ.abs()
    shortest = min(shortest, float((sizes + r).min()))
    low = float((sizes - r).max()) / shortest if shortest > 0 else float("inf")
    sure = θ - r > 0
    above = max(largest / float((θ + r)[sure].min()), 1.0) if bool(sure.any()) else 1.0
    return Ends(least, smallest, largest, most, max(1.0, low), above, float(sizes.max()))


def condition_of_ends(found: Ends) -> Condition:
    """κ of |λ|: an interval where the matrix is certainly definite, else a lower bound alone."""
    if found.scale == 0:
        return Condition(float("inf"), float("inf"), float("inf"), True)
    if found.definite:
        small, large = sorted((abs(found.smallest), abs(found.largest)))
        tiny, huge = sorted((abs(found.least), abs(found.most)))
        return Condition(large / small, large / small, huge / tiny, False)
    return Condition(found.low, found.low, float("inf"), False)


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


def picture(classes: int) -> Spectrum:
    return Spectrum("spectrum", "spectrum", "eigenvalues", "outliers" if classes else "", classes)


SIDE, DECADES = 25, 6  # bins on each side of zero, the first of them linear; decades that the others reach down


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
