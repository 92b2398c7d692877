"""Verdicts on numbers beside proven ones, entry by entry.

certified: gap + radius <= tolerance · |proven|. A single answer has no other scale; a descent states one, its size at
the start. A proven number that is exactly zero has no size: there a number certifies that is no more than the rounding
of the terms it is made of. Otherwise: suspect, with the digits that floating point has kept and the proven value;
refuted, where autograd itself is right and rounding does not explain the number; inconclusive, where the ball is too
wide; undefined, where no such number exists. What the rounding of the inputs does is said beside, and excuses nothing.

Why entry by entry: beside a large entry a small one may be wrong in every digit and yet be near in norm, and it is the
small one whose sign somebody reads. Why a proven zero is an exception: sin(π) in floats is 1e-16, and no program could
be nearer; what counts there is the rounding of the terms, Σ |term| eps, which the formula's tree knows.
The verdict of a tensor is that of its worst entry, by verdict first, then by gap over what is allowed.

>>> mid, rad = np.array([1.0, 0.0]), np.array([1e-16, 0.0])
>>> from calclab.numerics.tolerance import tolerance_of
>>> proven = Reference(mid, rad, BALL, lambda: np.array([1e-16, 1e-16]), shape=(2,))
>>> judge = Judge(tolerance_of(torch.float64), 0.0, 0, {}, None)
>>> [row.verdict.word for row in judge.rows("x", np.array([1 + 1e-12, 1e-16]), proven, np.arange(2))]
['certified']
>>> [row.note for row in judge.rows("x", np.array([1 + 1e-6, 0.0]), proven, np.arange(2))]
['float64 keeps about 6 of 16 digits here; proven value 1 (at [0]; 1 of 2 entries)']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, log10, nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.numerics.tolerance import ROUNDINGS, ZERO, Tolerance

BALL = "Arb ball"
Numbers = NDArray[np.float64]
Index = NDArray[np.intp]
RANKS = (Verdict.CERTIFIED, Verdict.INCONCLUSIVE, Verdict.SUSPECT, Verdict.REFUTED)
GOOD, OPEN, SUSPECT, REFUTED = range(4)
LARGE = 1e300


@dataclass(frozen=True)
class Reference:
    """Proven numbers for a tensor of ``shape``, all flat: within ``rad`` of ``mid``; ``beyond`` as of a `Ball`.

    ``rounding`` is how far the rounding of every step can move each, ``moved`` what half an ulp of the inputs changes:
    both are asked for only where a number does not simply pass.
    """

    mid: Numbers
    rad: Numbers
    method: str
    rounding: Callable[[], Numbers]
    moved: Callable[[], Numbers] | None = None
    beyond: Mapping[int, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    def text(self, i: int) -> str:
        """The proven number i in words."""
        if i in self.beyond:
            return f"{self.beyond[i]}, outside the normal range of float64"
        mid, rad = float(self.mid[i]), float(self.rad[i])
        return f"0 to within {rad:.2g}" if abs(mid) <= rad else f"{mid:.10g}"


@dataclass(frozen=True)
class Judge:
    """Turns entries of a tensor and of its reference into rows; ``recompute`` gives autograd's own numbers.

    ``scale`` is what a descent's gaps are relative to, 0 for none; ``none`` has notes for entries, by flat index, that
    are known not to exist. Without ``recompute`` nothing is refuted: there is no third party to ask.
    """

    tolerance: Tolerance
    scale: float
    step: int
    kinks: dict[int, str]
    recompute: Callable[[], Numbers] | None

    def rows(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> list[Evidence]:
        """One row for the entries ``index`` that exist, the worst of them, and one for those that do not.

        ``numbers`` are flat, as the reference is; an empty ``index`` gives no row.
        """
        missing = np.isnan(ref.mid[index])
        if not missing.any():
            return [self.worst(quantity, numbers, ref, index)] if len(index) else []
        found = [self.undefined(quantity, numbers, ref, index[missing])] if ref.method == BALL else []
        if not missing.all():
            found.append(self.worst(quantity, numbers, ref, index[~missing]))
        return found

    def undefined(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> Evidence:
        i = int(index[0])
        notes = list(dict.fromkeys(self.kinks.get(int(j), "not defined here") for j in index[:4]))
        return Evidence(
            *(self.step, quantity, ref.method, float(numbers[i]), nan, nan, inf, 0.0),
            *(Verdict.UNDEFINED, "; ".join(notes)),
        )

    def worst(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> Evidence:
        value, mid, rad = numbers[index], ref.mid[index], ref.rad[index]
        allowed = self.tolerance.certified * sizes(mid, self.scale)
        gaps, bounds = apart(value, mid, rad)
        ranks = np.where((bounds <= allowed) & np.isfinite(mid), GOOD, SUSPECT)
        if ranks.any():
            allowed, ranks = self.ranked(ref, index, gaps, bounds, allowed, ranks)
        j = failing(bounds, allowed, mid, ranks)
        i, rank = int(index[j]), int(ranks[j])
        note = self.note(float(value[j]), float(gaps[j]), float(allowed[j]), ref, i, rank)
        alike = int((ranks == rank).sum())
        if rank != GOOD and len(index) > 1:
            note += f" (at {list(map(int, np.unravel_index(i, ref.shape)))}; {alike} of {len(index)} entries)"
        number, truth, gap, bound, most = (float(part[j]) for part in (value, mid, gaps, bounds, allowed))
        return Evidence(self.step, quantity, ref.method, number, truth, gap, bound, most, RANKS[rank], note)

    def ranked(
        self, ref: Reference, index: Index, gaps: Numbers, bounds: Numbers, allowed: Numbers, ranks: Index
    ) -> tuple[Numbers, Index]:
        """What is allowed where zero is proven, or not excluded, and the ranks of all entries.

        Refuted takes three things: the number is far off, the program computed anew is not, and the gap is larger than
        `ROUNDINGS` times what rounding each step can do. Then another number was reported than the program gives.
        """
        mid, rad = ref.mid[index], ref.rad[index]
        rounding = np.minimum(ref.rounding()[index], LARGE) * ROUNDINGS
        beyond = np.isin(index, list(ref.beyond))
        zero = (np.abs(mid) <= rad) & np.isfinite(rad) & ~beyond
        slack = np.minimum(rounding, ZERO * self.tolerance.eps * max(1.0, float(largest(ref.mid))))
        allowed = np.where(zero, np.maximum(allowed, slack), allowed)
        proven = (mid == 0) & (rad == 0)
        ranks = np.where(proven & (gaps <= allowed), GOOD, ranks)
        unsure = (~np.isfinite(rad) | (gaps <= allowed)) & ~beyond
        ranks = np.where((ranks == SUSPECT) & unsure, OPEN, ranks)
        if self.recompute is not None and (ranks == SUSPECT).any():
            away = apart(self.recompute()[index], mid, rad)[0]
            wrong = (away <= np.minimum(allowed, gaps / 100)) & np.isfinite(gaps) & (gaps > rounding)
            ranks = np.where((ranks == SUSPECT) & wrong, REFUTED, ranks)
        return allowed, ranks

    def note(self, number: float, gap: float, allowed: float, ref: Reference, i: int, rank: int) -> str:
        mid, rad = float(ref.mid[i]), float(ref.rad[i])
        if rank == GOOD:
            return "proven to be zero" if mid == rad == 0 != number else ""
        if rank == OPEN:
            if not isfinite(rad):
                return "no finite bound could be proven here"
            if abs(mid) <= rad:
                return f"proven to be within {abs(mid) + rad:.2g} of zero, but not which side of it"
            return "the proven bound is wider than the tolerance"
        if rank == REFUTED:
            return f"autograd gives {self.again(i):.10g} here, and the proven value is {ref.text(i)}"
        kind = "float" + str({16: 64, 7: 32}.get(self.tolerance.digits, 16))
        digits = kept(max(gap, rad), mid, self.tolerance.digits)
        what = f"keeps about {digits} of {self.tolerance.digits} digits" if digits else "keeps no digit"
        what = what if isfinite(number) else f"gives {number}"
        moved = 0.0 if ref.moved is None else float(ref.moved()[i])
        note = f"{kind} {what} here; proven value {ref.text(i)}"
        if moved > self.tolerance.certified * abs(mid):
            note += f"; rounding the inputs to {kind} alone moves it by up to {moved:.2g}"
        return note

    def again(self, i: int) -> float:
        assert self.recompute is not None
        return float(self.recompute()[i])


def sizes(mid: Numbers, scale: float | Numbers) -> Numbers:
    """What gaps are relative to (..., n): each proven entry itself; beside a stated ``scale`` (...), the larger of it
    and the largest entry.
    """
    least = np.asarray(scale)[..., None]
    return np.where(least > 0, np.maximum(largest(mid)[..., None], least), np.abs(mid))


def failing(bounds: Numbers, allowed: Numbers, mid: Numbers, ranks: Index | None = None) -> Index:
    """The entry (...) of those (..., n) that fails most: by rank, then by how far it is beyond what is allowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(bounds == 0, np.where(mid == 0, -1.0, 0.0), bounds / allowed)
    excess = np.nan_to_num(excess, nan=inf)
    return (excess if ranks is None else np.where(ranks == ranks.max(), excess, -2.0)).argmax(-1)


def kept(gap: float, truth: float, digits: int) -> int:
    """How many decimal digits a number has right, 0 to ``digits``."""
    if not gap < abs(truth) < inf:  # as a ratio it may be beyond float64
        return 0
    return min(digits, int(-log10(gap / abs(truth)))) if gap and gap / abs(truth) else digits


def apart(numbers: Numbers, mid: Numbers, rad: Numbers) -> tuple[Numbers, Numbers]:
    """How far each number is from its ball's midpoint, infinite where that is not known; and from the truth at most."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(numbers == mid, 0.0, np.abs(numbers - mid))
    gaps[np.isnan(gaps)] = inf
    return gaps, gaps + rad


def largest(mid: Numbers) -> Numbers:
    """The largest entry (...) of proven numbers (..., n), among those that are finite."""
    return np.abs(mid).max(-1, initial=0.0, where=np.isfinite(mid))


def flat(tensor: Tensor) -> Numbers:
    """All entries as NumPy's float64: evidence is made of few plain numbers, for which it is quicker."""
    return tensor.detach().to("cpu", torch.float64).reshape(-1).numpy()
