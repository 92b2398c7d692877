"""Where a derivative does not exist: which entries, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan, nan

from torch import Tensor

from calclab.core import Ball, Exact


def kink_notes(
    exact: Exact, x: Tensor, order: int, missing: Sequence[int], variables: tuple[str, ...]
) -> dict[int, str]:
    """For every flat entry that does not exist: why, with the slopes from both sides where they differ."""
    if order == 0:
        return dict.fromkeys(missing, "the function is not defined here")
    left, right = (side.detach().reshape(-1) for side in exact.one_sided(x))
    n = len(x)
    if order == 1:
        return {i: one_sided_note(float(left[i]), float(right[i]), variables[i % n]) for i in missing}
    kink = [
        one_sided_note(float(a), float(b), variables[i % n]) for i, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    differ = [text for text, a, b in zip(kink, left.tolist(), right.tolist(), strict=True) if a != b]
    note = differ[0] if differ else "the first derivative has a kink or jump here: no second derivative"
    return dict.fromkeys(missing, note)


def without_kinks(second: Ball, first: Ball) -> Ball:
    """Second derivatives (..., n, n) with those taken out, as NaN, whose first derivative (..., n) does not exist."""
    kink = first.mid.isnan()
    return Ball(second.mid.masked_fill(kink[..., :, None] | kink[..., None, :], nan), second.rad)


def one_sided_note(left: float, right: float, variable: str) -> str:
    """The slopes from both sides; NaN where the function ends."""
    if left == right and isfinite(left):
        return f"slope {left:.10g} in {variable} from both sides, but no proof that it is the slope here"
    digits = 10 if f"{left:.10g}" != f"{right:.10g}" else 17
    one, other = ("none" if isnan(slope) else f"{slope:.{digits}g}" for slope in (left, right))
    return f"kink in {variable}: slope {one} from the left, {other} from the right"
