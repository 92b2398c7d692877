"""A number given against one measured: a verdict, and why.

With the measured slope m ± e, the number given g, and b = 10 e the bound (Richardson's own estimate bounds the error on
55 of 59 functions at ten times its size):

    consistent    b resolves a millionth of max(|g|, |m|), and |g - m| is no more; or both are zero to within rounding
    refuted       |g - m| exceeds b and the tolerance, and raw quotients at three steps in a row are off g by just that:
                  two witnesses
    suspect       g is not finite where F has a slope; a small type inside of F, or rounding of g, explains the gap
    undefined     F is not finite, or has a kink, jump or vertical tangent
    inconclusive  rounding, or steps too long for F, hide it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan

import torch
from torch import Tensor

from calclab.checks.slopes import Measured
from calclab.core import Verdict
from calclab.numerics.tolerance import RICHARDSON

TOLERANCE = 1e-6  # relative: what a wrong number must be off by to be told
ROUNDED = 1e-11  # of the largest slope: what is taken for the rounding of a right number
NOTHING = 1e-7  # of the largest slope: a bound below it tells that a number is zero to within rounding
ORDER = list(Verdict)


@dataclass(frozen=True)
class Judged:
    """One number: of which direction and output, given, measured, how far that can be off, and what came of it."""

    direction: int
    output: int
    given: float
    measured: float
    bound: float
    verdict: Verdict
    note: str = ""

    @property
    def gap(self) -> float:
        gap = abs(self.given - self.measured)
        return inf if isnan(gap) else gap

    @property
    def relative(self) -> float:
        """The gap beside the larger of both."""
        size = max(abs(self.given), abs(self.measured))
        return self.gap / size if size and isfinite(size) else self.gap

    @property
    def badness(self) -> tuple[int, float]:
        return ORDER.index(self.verdict), self.relative


def worst(judged: Iterable[Judged]) -> Judged:
    return max(judged, key=lambda one: one.badness)


def judge(
    base: Tensor, given: Tensor, found: Measured, tolerance: float = TOLERANCE, largest: Tensor | None = None
) -> list[Judged]:
    """The numbers ``given`` (p, m) against ``found``: all that are not consistent, and of those that are the one with
    the largest bound. ``base`` (m,) is F at the point; ``largest`` (m,) the largest slope of each output, where more
    directions than these are known."""
    half = 0.4 * tolerance  # for the gap, and for the bound
    size = found.slope.abs().nan_to_num(0, 0, 0)
    scale = torch.maximum(size, found.varied).amax(0)
    scale = scale if largest is None else torch.maximum(scale, largest)
    bound, gap = RICHARDSON * found.error, (given - found.slope).abs()
    allowed = torch.maximum(half * torch.maximum(size, given.abs()), ROUNDED * scale)
    good = (bound <= allowed) & (gap <= bound + allowed) & ~found.singular & base.isfinite()
    rows = [
        one(found, base, given, i, j, half, float(scale[j]), float(scale.max()))
        for i, j in torch.nonzero(~good).tolist()
    ]
    if bool(good.any()):
        share = torch.where(good, bound / torch.maximum(size, ROUNDED * scale).clamp(min=1e-300), -1.0)
        i, j = divmod(int(share.argmax()), given.shape[1])
        rows.append(one(found, base, given, i, j, half, float(scale[j]), float(scale.max())))
    return rows


def one(
    found: Measured, base: Tensor, given: Tensor, i: int, j: int, half: float, scale: float, widest: float
) -> Judged:
    g, m, error = float(given[i, j]), float(found.slope[i, j]), float(found.error[i, j])
    bound = RICHARDSON * error
    size = max(abs(g), abs(m)) if isfinite(g) and isfinite(m) else inf
    row = Judged(i, j, g, m, bound, Verdict.INCONCLUSIVE, "rounding, or steps too long for the function, hide it")
    if not isfinite(float(base[j])):
        return replace(row, verdict=Verdict.UNDEFINED, bound=inf, note="the function is not finite here")
    if bool(found.singular[i, j]):
        left, right = float(found.left[i, j]), float(found.right[i, j])
        note = (
            "the function ends here"
            if isnan(left)
            else f"a kink: slope {left:.6g} on one side, {right:.6g} on the other"
        )
        if left == right:
            note = "a jump, or a vertical tangent: the slopes grow"
        return replace(row, verdict=Verdict.UNDEFINED, bound=inf, note=note)
    if not isfinite(g):
        known = isfinite(m) and bound <= 0.1 * max(abs(m), 1e-4 * scale)
        verdict = Verdict.SUSPECT if known else Verdict.UNDEFINED
        note = f"not finite, where the function has the slope {m:.6g}" if known else "the derivative is not finite here"
        return replace(row, verdict=verdict, note=note)
    rounded = ROUNDED * scale
    if bound <= max(half * size, rounded) and row.gap <= bound + max(half * size, rounded):
        return replace(row, verdict=Verdict.CONSISTENT, note="")
    nothing = max(NOTHING * scale, 1e-3 * NOTHING * max(widest, abs(float(base[j]))))
    if row.gap <= bound and size <= 10 * bound and bound <= nothing:
        return replace(row, verdict=Verdict.CONSISTENT, note="zero to within the rounding of the function")
    if isfinite(bound) and row.gap > bound + max(half * size, rounded) and found.witnessed(i, j, g):
        if bool(found.stairs[i, j]):
            note = "the function stands still between jumps as high as a small type's rounding: computed in one inside?"
            return replace(row, verdict=Verdict.SUSPECT, note=note)
        return replace(row, verdict=Verdict.REFUTED, note=f"off by {row.relative:.2g} of its size")
    if bool(found.stairs[i, j]):
        return replace(row, note="the function stands still between jumps: it is computed in a small type inside")
    if row.gap <= bound and isfinite(bound) and size > 0:
        return replace(row, note=f"agrees to {max(bound, row.gap) / size:.1g}, the best that values show here")
    return row


def bad(judged: list[Judged]) -> bool:
    return any(one.verdict is Verdict.REFUTED for one in judged)


__all__ = ["TOLERANCE", "Judged", "bad", "judge", "worst"]
