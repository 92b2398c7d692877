"""Rows of evidence from two floating-point ways to one number, such as the reverse and the forward mode.

Two programs that are equal in exact arithmetic differ in floats by rounding: by a few thousand eps of the numbers'
size where nothing cancels, by more where something does. So, for a gap |a - b| beside size s = max(|a|, |b|, size):

    gap <= 2^13 eps s               consistent
    gap <= √eps s, or what cancels  suspect: they round differently
    beyond                          refuted: one of the two is wrong

Independent the two must be: reverse and forward mode share the formulas of single operations but not the order in which
they are put together, so that a custom backward, or an operation with a wrong rule in one mode, shows.

>>> one, other = torch.tensor(1.0, dtype=torch.float64), torch.tensor(1 + 1e-15, dtype=torch.float64)
>>> compare("gradient", "two ways", [one], [other], torch.float64, 0, 1.0).verdict.word
'consistent'
>>> compare("gradient", "two ways", [one], [1.01 * one], torch.float64, 0, 1.0).verdict.word
'refuted'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf, isfinite, nan

import torch
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.numerics.tolerance import tolerance_of


def compare(
    quantity: str,
    method: str,
    left: Sequence[Tensor],
    right: Sequence[Tensor],
    dtype: torch.dtype,
    step: int,
    size: float,
    rounding: Sequence[float] = (),
) -> Evidence:
    """Two floating-point ways to the same numbers of about ``size``: the worst pair.

    Gaps up to ``rounding``, one for each pair, may come of cancellation and refute nothing.
    """
    rule = tolerance_of(dtype)
    rows = []
    forgiven = rounding or [0.0] * len(left)
    for a, b, loss in zip((float(t) for t in left), (float(t) for t in right), forgiven, strict=True):
        most, gap = max(abs(a), abs(b), size), abs(a - b)
        row = Evidence(step, quantity, method, a, b, gap, gap, rule.identity * most, Verdict.CONSISTENT)
        if not (isfinite(a) and isfinite(b)):
            note = "not finite" + (" one way" if isfinite(a) or isfinite(b) else " either way")
            row = replace(row, gap=inf, bound=inf, verdict=Verdict.UNDEFINED, note=note)
        elif not gap <= max(rule.identity_suspect * most, loss):
            row = replace(row, verdict=Verdict.REFUTED, note="the two disagree")
        elif gap > row.tolerance:
            row = replace(row, verdict=Verdict.SUSPECT, note="the two round differently")
        rows.append(row)
    return worst_of(rows)


def forward_row(
    quantity: str,
    method: str,
    slopes: Sequence[Tensor],
    push: Callable[[], list[Tensor]],
    step: int,
    size: float,
    rounding: Sequence[float] = (),
) -> Evidence:
    """Slopes from the reverse mode against those of the forward mode, which not every operation has."""
    try:
        pushed = [slope.detach() for slope in push()]
    except (RuntimeError, NotImplementedError) as error:
        reason = f"forward mode does not know this function: {[*str(error).strip().splitlines(), ''][0][:120]}"
        return Evidence(step, quantity, method, float(slopes[0]), nan, nan, inf, 0.0, Verdict.INCONCLUSIVE, reason)
    return compare(quantity, method, slopes, pushed, pushed[0].dtype, step, size, rounding)


def worst_of(rows: Iterable[Evidence]) -> Evidence:
    """The row with the worst verdict; among equals the one with the largest bound."""
    order = list(Verdict)
    return max(rows, key=lambda row: (order.index(row.verdict), row.bound))
