"""Rows of evidence from two floating-point ways to one number: identities (Σλ = tr H, H = Hᵀ, Σ a = f(x) - f(x₀)), the
reverse and the forward mode.

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


def identity(
    quantity: str,
    method: str,
    left: Tensor,
    right: Tensor,
    step: int,
    *,
    tolerance: float | None = None,
    note: str = "",
) -> Evidence:
    """Two ways to one number: consistent when they agree within ``tolerance``, refuted otherwise.

    By default the tolerance is 2^13 eps times the largest entry, and a gap up to sqrt(eps) is called suspect:
    rounding, magnified by an ill-conditioned problem. An infinite one says that nothing can be told. Entries that are
    not finite on one side refute nothing: they are undefined, where the others agree.
    """
    dtype = left.dtype
    given = tolerance_of(dtype)
    left, right = (side.detach().to("cpu", dtype).double().reshape(-1) for side in (left, right))
    finite = left.isfinite() & right.isfinite()
    scale = float(left[finite].abs().maximum(right[finite].abs()).max()) if bool(finite.any()) else 0.0
    allowed = given.identity * scale if tolerance is None else tolerance
    normal = max(scale, torch.finfo(dtype).tiny)  # below it float numbers have fewer digits the smaller they are
    suspect = allowed if tolerance is not None else given.identity_suspect * normal
    if left.numel() == 0:
        return Evidence(step, quantity, method, 0.0, 0.0, 0.0, 0.0, allowed, Verdict.CONSISTENT, "no entries")
    gaps = torch.where(finite, (left - right).abs(), 0.0)
    i = int(gaps.argmax())
    gap = float(gaps[i])
    verdict = Verdict.CONSISTENT if gap <= allowed else Verdict.SUSPECT if gap <= suspect else Verdict.REFUTED
    if allowed == inf and bool(finite.all()):
        verdict, note = Verdict.INCONCLUSIVE, note or "rounding can move these numbers by any amount"
    if verdict is not Verdict.REFUTED and not bool(finite.all()):
        same = (left == right) | (left.isnan() & right.isnan())  # infinities of one sign agree; so do two NaN
        i = int((finite if bool(same.all()) else same).double().argmin())
        gap, verdict, note = abs(float(left[i] - right[i])), Verdict.UNDEFINED, note or "not finite"
    bound = gap if bool(finite.all()) else inf
    return Evidence(step, quantity, method, float(left[i]), float(right[i]), gap, bound, allowed, verdict, note)


def beside(proof: Sequence[Evidence], rows: Sequence[Evidence]) -> list[Evidence]:
    """Identities between float programs, after the ``proof`` of the same numbers: where it decides, they refute
    nothing. What differs then is how the other program rounds.
    """
    if all(row.verdict in (Verdict.INCONCLUSIVE, Verdict.CONSISTENT) for row in proof):
        return list(rows)
    note = "another float program gives another number here: the proof decides"
    return [
        replace(row, verdict=Verdict.INCONCLUSIVE, note=note) if row.verdict is Verdict.REFUTED else row for row in rows
    ]


def worst(evidence: Iterable[Evidence]) -> Verdict:
    """The worst verdict among the rows, in the order of ``Verdict``; without any row inconclusive."""
    order = list(Verdict)
    return max((row.verdict for row in evidence), key=order.index, default=Verdict.INCONCLUSIVE)


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
