"""Where a derivative is not proven: what is known of it from both sides, in numbers and in words.

A kink is said only where two one-sided values are proven or measured to differ. Where the quotients from both sides
settle on one number, that is the derivative as far as can be measured; elsewhere nothing is known, and that is said.

For a function of one variable at x, with the limits of (f(x + h) - f(x))/h for h -> 0 from below and from above:

    both finite and equal      the derivative exists, though no proof was found (exists = True, measured)
    both finite, different     a kink: |x| at 0 has -1 and 1 (exists = False)
    both infinite, one sign    vertical: the cube root at 0
    one of them missing        the function ends here: √x at 0
    not settled                nothing is known (exists = None)

Second derivatives are the same question about ∂f/∂x_j, and are lost with it. Autograd answers with a number in all of
these cases, by convention: relu'(0) = 0.

>>> gap(-1.0, 1.0, "x", "slope in x").note
'kink in x: slope -1 from the left, 1 from the right'
>>> gap(nan, inf, "x", "slope in x", ends=True).reason
'the function ends'
>>> gap(2.0, 2.0, "x", "slope in x").exists
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite, isinf, isnan, nan
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import Ball, Evidence, Exact, Verdict

SAME = 1e-14  # relative: one-sided values that differ by less are one number
SIDES = "both sides"
FEW = 256  # entries of which it is asked whether the function ends there


class Gap(NamedTuple):
    """A derivative that is not proven. ``exists``: False where it is known not to exist, True where quotients from
    both sides settle on ``value``, None where neither is known. ``reason`` is a word or two, ``note`` a sentence."""

    exists: bool | None
    value: float
    reason: str
    note: str

    @property
    def number(self) -> str:
        """What was measured."""
        return f"{self.value:.6g} (measured from both sides, not proven)"

    @property
    def text(self) -> str:
        """What to say of it in an answer, after its name."""
        if self.exists:
            return f"= {self.number}"
        return f"does not exist here ({self.reason})" if self.exists is False else f"is not known here: {self.note}"


NOWHERE = Gap(False, nan, "not defined", "the function is not defined here")


def gaps(exact: Exact, x: Tensor, order: int, variables: Sequence[str], ball: Ball | None = None) -> dict[int, Gap]:
    """What is known of every entry, by flat index, that the proof of the derivative tensor of ``order``, ``ball``,
    leaves out."""
    ball = exact.enclose(x, order) if ball is None else ball
    if order == 0:
        return dict.fromkeys(missing(ball), NOWHERE)
    first = {} if order == 1 else gaps(exact, x, 1, variables)
    at = {*missing(ball), *(spoilt(first, len(x)) if order == 2 else ())}
    if not at:
        return {}
    n, values = len(x), exact.enclose(x, 0).mid.reshape(-1)
    found: dict[int, Gap] = {}
    sides: tuple[Tensor, Tensor] | None = None
    for k in sorted(at):
        row = k // n**order
        if isnan(float(values[row])):
            found[k] = NOWHERE
            continue
        slopes = (row * n + k % n, row * n + k // n % n) if order == 2 else ()
        none = next((first[i] for i in slopes if i in first and not first[i].exists), None)
        if none is not None:
            found[k] = none
            continue
        if sides is None:
            sides = exact.one_sided(x, order)
        left, right = (float(side.reshape(-1)[k]) for side in sides)
        ends = isnan(left) != isnan(right) and len(at) <= FEW and edge(exact, x, k % n, row)
        of = f"slope in {variables[k % n]}" if order == 1 else f"slope of ∂f/∂{variables[k // n % n]}"
        found[k] = gap(left, right, variables[k % n], of, ends=ends)
    return found


def without(ball: Ball, known: dict[int, Gap]) -> Ball:
    """A ball with the entries ``known`` taken out, as NaN."""
    mid = ball.mid.clone()
    mid.view(-1)[list(known)] = nan
    return replace(ball, mid=mid)


def missing(ball: Ball) -> list[int]:
    """The entries, by flat index, of which the proof says that there is no number."""
    return torch.nonzero(ball.mid.reshape(-1).isnan()).reshape(-1).tolist()


def spoilt(first: dict[int, Gap], n: int) -> set[int]:
    """The second derivatives whose first one does not exist, or is not known.

    By flat index of the tensor (m, n, n), from those of the first ones (m, n): the row and the column of each variable.
    """
    lost = [divmod(i, n) for i, found in first.items() if not found.exists]
    return {row * n * n + i for row, i in ((row, i * n + j) for row, i in lost for j in range(n))} | {
        row * n * n + j * n + i for row, i in lost for j in range(n)
    }


def filled(derivative: Tensor, known: dict[int, Gap]) -> Tensor:
    """A derivative with what is known of its entries in their places: measured, or NaN."""
    found = derivative.clone()
    for k, gap in known.items():
        found.view(-1)[k] = gap.value
    return found


def nowhere(known: dict[int, Gap]) -> str:
    """Why there is no such derivative to speak of."""
    none = next((gap for gap in known.values() if gap.exists is False), None)
    if none is not None:
        return f"does not exist at the point: {none.note}"
    open_ = next((gap for gap in known.values() if gap.exists is None), None)
    if known and open_ is None:
        return f"is no number of the float program: {next(iter(known.values())).note}"
    return f"is not known at the point: {open_.note if open_ else 'autograd gives no finite number'}"


def edge(exact: Exact, x: Tensor, i: int, row: int) -> bool:
    """Whether the function has no value on one side of x_i: proven at the float next to it."""
    for way in (-inf, inf):
        beside = x.clone()
        beside[i] = torch.nextafter(x[i], torch.full_like(x[i], way))
        if bool(exact.enclose(beside, 0).mid.reshape(-1)[row].isnan()):
            return True
    return False


def gap(left: float, right: float, variable: str, of: str, *, ends: bool = False) -> Gap:
    """From the limits of the quotients on both sides; NaN where there is none, infinite where they grow."""
    digits = 10 if f"{left:.10g}" != f"{right:.10g}" else 17
    one, other = ("none" if isnan(slope) else f"{slope:.{digits}g}" for slope in (left, right))
    if ends:
        note = f"the function ends here in {variable}: slope {one} from the left, {other} from the right"
        return Gap(False, nan, "the function ends", note)
    if isnan(left) or isnan(right):
        return Gap(None, nan, "", f"no proof, and the quotients in {variable} do not settle on both sides")
    if isfinite(left) and isfinite(right) and abs(left - right) <= SAME * max(abs(left), abs(right)):
        return Gap(True, (left + right) / 2, "", f"{of} {left:.10g} from both sides, measured: there is no proof")
    if isinf(left) and left == right:
        return Gap(False, nan, "vertical", f"vertical in {variable}: the slope grows to {left:g} from both sides")
    of = of.removesuffix(f" in {variable}")
    return Gap(False, nan, "kink", f"kink in {variable}: {of} {one} from the left, {other} from the right")


def rows(
    step: int, quantity: str, numbers: Sequence[float], known: dict[int, Gap], index: Sequence[int], tolerance: float
) -> list[Evidence]:
    """Evidence for the entries ``index`` that are measured, or not known: the worst of each sort.

    What is measured has no proof and can at best be consistent; what is not known is inconclusive, whatever the program
    says.
    """
    found = []
    for k in index:
        value, here = numbers[k], known[k]
        if here.exists is None:
            verdict, away, note = Verdict.INCONCLUSIVE, inf, here.note
        else:
            away = abs(value - here.value)
            allowed = tolerance * abs(here.value)
            close = away <= allowed
            verdict = Verdict.CONSISTENT if close else Verdict.SUSPECT if isfinite(value) else Verdict.INCONCLUSIVE
            note = here.note if close else f"the float program gives {value:.6g}; {here.note}"
        away = inf if isnan(away) else away
        row = Evidence(step, quantity, SIDES, value, here.value, away, away, tolerance * abs(here.value), verdict, note)
        found.append(row)
    order = list(Verdict)
    worst: dict[bool, Evidence] = {}
    for k, row in zip(index, found, strict=True):
        sort = known[k].exists is None
        if sort not in worst or order.index(row.verdict) > order.index(worst[sort].verdict):
            worst[sort] = row
    return list(worst.values())
