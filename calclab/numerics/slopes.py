"""Rows of evidence from samples along directions: the Taylor order of the remainder, and Richardson differences.

Both use values of φ alone, at x ± h d for h = 1, 1/4, ..., and ask different things of them. `taylor` asks whether what
is left of φ after the slope claimed falls like h², without any estimate of the slope; Richardson's extrapolation
(`differences`) estimates the slope, and how far off that is. The first tells small errors, and kinks; the second gives
a number where the claimed one is not finite.

    Taylor      odd part of the remainder/h: falls like h²; a plateau e says that the slope is wrong by e
                even part/h: falls like h; a plateau says that the slopes of both sides differ by twice as much
    Richardson  |slope - estimate| <= 10 · (its own error estimate)

>>> x, d = torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
>>> seen = [taylor.sample(lambda x: (x**3).sum(), x, d)]
>>> [taylor_row("gradient", seen, [γ * x], 0, 3.0).verdict.word for γ in (3, 2)]
['consistent', 'refuted']
>>> richardson_row("gradient", seen, [torch.tensor(3.0)], 0, 3.0).verdict.word
'consistent'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite, isnan, nan

import torch
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.numerics import taylor
from calclab.numerics.agreement import worst_of
from calclab.numerics.taylor import Samples, dot
from calclab.numerics.tolerance import RICHARDSON, ROUND, tolerance_of


def taylor_row(quantity: str, seen: Sequence[Samples], gammas: Sequence[Tensor], step: int, size: float) -> Evidence:
    """The worst direction of the test of gradients γ of φ; slopes along the directions are of about ``size``.

    consistent: what is left of the slope at the best steps is below what must be resolved. refuted: the odd part has a
    plateau. undefined: the even part has one (a kink). inconclusive: rounding hides the order.
    """
    rows = [taylor_one(s, gamma, size) for s, gamma in zip(seen, gammas, strict=True)]
    return replace(worst_of(rows), step=step, quantity=quantity, method="Taylor order")


def taylor_one(seen: Samples, gamma: Tensor, rms: float) -> Evidence:
    """The row of one direction. A kink is asked for first, since beside one no slope is wrong; then whether the slope
    is, unless steps so small are looked at that φ itself changes within them, or one side alone shows it."""
    rule = tolerance_of(seen.x.dtype)
    row = Evidence(0, "", "", float(dot(gamma, seen.d)), nan, nan, inf, rule.resolve * rms, Verdict.INCONCLUSIVE)
    if not seen.finite:
        return replace(row, verdict=Verdict.UNDEFINED, note="the function is not finite here")
    if not bool(gamma.isfinite().all()):
        return not_finite(seen, row)
    found = taylor.remainder(seen, gamma)
    if found is None or not found.h:
        return replace(row, note="the function stands still, or is not finite nearby")
    kink, wrong = (taylor.plateau(part, found.noise) for part in (found.even, found.odd))
    slope = found.slope
    middle = slope + (wrong or 0.0)
    size = max(rms, abs(slope), abs(middle))
    if kink is not None and abs(kink) > rule.refute * size:
        note = kink_note(middle - kink, middle + kink)
        return replace(row, reference=middle, gap=abs(kink), verdict=Verdict.UNDEFINED, note=note)
    if wrong is not None and abs(wrong) > rule.refute * size and too_steep(seen, slope, found.h[-1]):
        return replace(row, note="the function would change within the smallest step")
    if wrong is not None and abs(wrong) > rule.refute * size and one_sided(found):
        return replace(row, note="a kink lies too near to tell")
    if wrong is not None and abs(wrong) > rule.refute * size:
        note = f"the remainder falls like h, not h²: the slope is off by {abs(wrong) / size:.2g} relative"
        row = replace(row, reference=middle, gap=abs(wrong), bound=abs(wrong))
        return replace(row, verdict=Verdict.REFUTED, note=note)
    left = found.resolution
    row = replace(row, reference=slope, gap=left, bound=left)
    if left <= rule.resolve * rms:
        how = "is rounding only" if isnan(found.order) else f"falls like h^{found.order:.2f}"
        return replace(row, verdict=Verdict.CONSISTENT, note=f"the remainder {how}")
    if rms <= left <= ROUND * found.variation or rms == 0 == left * found.variation:
        note = "zero to within the rounding of the function"
        return replace(row, tolerance=left, verdict=Verdict.CONSISTENT, note=note)
    return replace(row, note="rounding hides the order of the remainder")


def one_sided(found: taylor.Remainder) -> bool:
    """Whether what the odd part shows at the smallest clear step happens on one side only: then the even part is as
    large there, while beside a wrong slope it would be falling like h.
    """
    clear = [k for k, (p, s) in enumerate(zip(found.odd, found.noise, strict=True)) if abs(p) > taylor.ABOVE * s]
    far, near = abs(found.even[clear[-2]]), abs(found.even[clear[-1]])
    return near > 0.5 * abs(found.odd[clear[-1]]) and far < 2 * near


def kink_note(one: float, other: float) -> str:
    """What is said of a kink, with its slopes on both sides."""
    return f"kink: along a seeded direction the slope is {one:.6g} on one side and {other:.6g} on the other"


def not_finite(seen: Samples, row: Evidence) -> Evidence:
    """A gradient of inf or NaN: is it the function that has none here, or the program that loses it?"""
    found = taylor.remainder(seen, torch.zeros_like(seen.x))
    ((slope, error),) = taylor.richardson([seen], [0.0])
    kink = None if found is None else taylor.plateau(found.even, found.noise)
    if kink is not None:
        middle = slope if isfinite(slope) else 0.0
        return replace(row, verdict=Verdict.UNDEFINED, note=kink_note(middle - kink, middle + kink))
    variation = 0.0 if found is None else found.variation
    if isfinite(slope) and error <= 0.1 * max(abs(slope), ROUND * variation):
        note = f"not finite, and the function has a slope: about {slope:.6g} along a seeded direction"
        return replace(row, reference=slope, gap=inf, verdict=Verdict.SUSPECT, note=note)
    return replace(row, verdict=Verdict.UNDEFINED, note="the gradient is not finite here")


def richardson_row(
    quantity: str, seen: Sequence[Samples], slopes: Sequence[Tensor], step: int, size: float
) -> Evidence:
    """Slopes along the directions against extrapolated central differences: the worst direction.

    The bound is 10 times the differences' own estimate of their error. It is consistent when that resolves the slope
    and the slope is within it, refuted when it resolves the slope and the slope is elsewhere.
    """
    numbers = [float(slope) for slope in slopes]
    found = taylor.richardson(seen, numbers)
    rows = [richardson_one(s, number, size, *one) for s, number, one in zip(seen, numbers, found, strict=True)]
    return replace(worst_of(rows), step=step, quantity=quantity, method="Richardson")


def richardson_one(seen: Samples, number: float, size: float, estimate: float, error: float) -> Evidence:
    """The row of one direction: refuted only where the differences resolve a slope of this ``size``, and φ neither
    stands still between jumps nor changes within the smallest step."""
    rule = tolerance_of(seen.x.dtype)
    bound, gap, most = RICHARDSON * error, abs(number - estimate), max(size, abs(number))
    allowed = bound + rule.refute * most
    row = Evidence(0, "", "", number, estimate, gap, bound, allowed, Verdict.INCONCLUSIVE)
    if not isfinite(number):
        return replace(row, note="not finite" + (", where differences are" if isfinite(estimate) else ""))
    if gap > allowed and (stairs(seen, number) or too_steep(seen, number, seen.steps[-1])):
        return replace(row, note="the function stands still between jumps, or changes within the smallest step")
    if gap > allowed and bound <= rule.resolve * max(most, abs(estimate)):
        return replace(row, verdict=Verdict.REFUTED, note="the difference quotients settle elsewhere")
    if gap <= allowed and bound <= rule.resolve * most:
        return replace(row, verdict=Verdict.CONSISTENT)
    variation = float((seen.ahead[0] - seen.base).abs().maximum((seen.behind[0] - seen.base).abs()))
    if gap <= allowed and (most <= bound <= ROUND * variation or gap == variation == 0):
        return replace(row, verdict=Verdict.CONSISTENT, note="zero to within the rounding of the function")
    return replace(row, note="the difference quotients do not settle well enough to tell")


def too_steep(seen: Samples, slope: float, h: float) -> bool:
    """A claimed slope that the smallest step could not show: there it already exceeds all that φ changes by."""
    moved = torch.cat([seen.ahead, seen.behind]) - seen.base
    return abs(slope) * h > float(moved[moved.isfinite()].abs().sum())


def stairs(seen: Samples, slope: float) -> bool:
    """φ moves, yet stands still on both sides where the slope says it moves by many ulps: (1e16 + x) - 1e16."""
    h = torch.tensor(seen.steps, dtype=seen.x.dtype, device=seen.x.device)
    still = (seen.ahead == seen.base) & (seen.behind == seen.base)
    expected = abs(slope) * h > 8 * torch.finfo(seen.x.dtype).eps * seen.base.abs()
    return bool((still & expected).any() & ~still.all())
