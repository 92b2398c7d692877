"""Verdicts on numbers beside proven ones.

certified: gap + radius <= tolerance · max(largest proven entry, scale); of a Jacobian, largest of the row. Where it is
further off it is suspect, with the digits that floating point has kept; refuted, if autograd itself is right here and
the number is not; undefined where the derivative does not exist. A truth that half an ulp in the inputs could turn to
zero is zero to working precision, and there a gap of that size is certified too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, log10, nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.numerics.tolerance import ZERO, Tolerance

BALL = "Arb ball"
Numbers = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Reference:
    """Proven numbers for a tensor, all flat: within ``rad`` of ``mid``, and what half an ulp of x does. Each ``width``
    of them (0: all) are of one size: the row of a Jacobian is the gradient of one output."""

    mid: Numbers
    rad: Numbers
    sensitivity: Callable[[], Numbers]  # asked for only where the bound alone does not pass
    method: str
    width: int = 0

    def sizes(self) -> Numbers:
        """The largest proven entry that each is held against."""
        width = self.width or len(self.mid)
        return np.repeat(largest(self.mid.reshape(-1, width)), width)


@dataclass(frozen=True)
class Judge:
    """Turns entries of a tensor and of its reference into rows; ``recompute`` gives autograd's own numbers."""

    tolerance: Tolerance
    scale: float
    step: int
    kinks: dict[int, str]
    recompute: Callable[[], Numbers] | None

    def rows(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> list[Evidence]:
        """One row for the entries ``index`` that exist, the worst of them, and one for those that do not."""
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
        number = float(numbers[i])
        return self.evidence(quantity, ref, number, nan, nan, inf, 0.0, Verdict.UNDEFINED, "; ".join(notes))

    def worst(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> Evidence:
        tolerances = self.tolerance.certified * np.maximum(ref.sizes()[index], self.scale)
        value, mid, rad = numbers[index], ref.mid[index], ref.rad[index]
        gaps, bounds = apart(value, mid, rad)
        sensitive = np.zeros_like(mid) if (bounds <= tolerances).all() else ref.sensitivity()[index]
        zero = (np.abs(mid) <= ZERO * sensitive) & (bounds <= ZERO * sensitive)
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(bounds == 0, 0.0, bounds / tolerances)
        excess[zero] = -1.0  # entries that are zero to working precision fail least
        j = int(excess.argmax())
        number, truth, gap, bound = float(value[j]), float(mid[j]), float(gaps[j]), float(bounds[j])
        allowed = float(tolerances[j])
        if not isfinite(float(rad[j])):
            note = "no finite bound could be proven here"
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.INCONCLUSIVE, note)
        if bool(zero[j]):
            note = "" if bound <= allowed else "zero to working precision"
            allowed = max(allowed, float(ZERO * sensitive[j]))
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.CERTIFIED, note)
        if bound <= allowed:
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.CERTIFIED, "")
        verdict, note = self.explain(number, truth, gap, allowed, int(index[j]))
        return self.evidence(quantity, ref, number, truth, gap, bound, allowed, verdict, note)

    def explain(self, number: float, truth: float, gap: float, allowed: float, i: int) -> tuple[Verdict, str]:
        """Suspect or refuted: floating point loses digits here, unless autograd, asked again, does not."""
        if gap <= allowed:
            return Verdict.INCONCLUSIVE, "the proven bound is wider than the tolerance"
        if self.recompute is not None:
            own = float(self.recompute()[i])
            if abs(own - truth) <= min(allowed, gap / 100):
                return Verdict.REFUTED, f"autograd gives {own:.10g} here, and the proven value is {truth:.10g}"
        kind = "float" + str({16: 64, 7: 32}.get(self.tolerance.digits, 16))
        digits = kept(gap, truth, self.tolerance.digits)
        what = f"keeps about {digits} of {self.tolerance.digits} digits" if digits else "keeps no digit"
        what = what if isfinite(number) else f"gives {number}"
        return Verdict.SUSPECT, f"{kind} {what} here; proven value {truth:.10g}"

    def evidence(
        self,
        quantity: str,
        ref: Reference,
        value: float,
        truth: float,
        gap: float,
        bound: float,
        allowed: float,
        verdict: Verdict,
        note: str,
    ) -> Evidence:
        return Evidence(self.step, quantity, ref.method, value, truth, gap, bound, allowed, verdict, note)


def kept(gap: float, truth: float, digits: int) -> int:
    """How many decimal digits a number has right, 0 to ``digits``."""
    if not isfinite(gap) or truth == 0:
        return 0
    return max(0, min(digits, int(-log10(gap / abs(truth))))) if gap else digits


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
