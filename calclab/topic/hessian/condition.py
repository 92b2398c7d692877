"""Condition numbers, and in which sense: of |λ|, of the positive part, of A + δI.

The inverse of a matrix that is only known by its products is not: the smallest |λ| lies inside the spectrum, where no
Krylov method converges. What is certain is a lower bound: min |λ| <= ‖A v‖ for every unit vector v, so that the v of a
basis which A shortens most gives κ >= max|λ| / ‖A v‖. An upper bound needs a matrix that is definite.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.numerics.krylov import Pairs
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
