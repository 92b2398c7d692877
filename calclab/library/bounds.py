"""How far each number of an answer can be from the truth, as far as anything in the result knows.

A bound is of one kind, from the surest to the least: *proven* (interval arithmetic); a *residual* ‖Av - λv‖, within
which some eigenvalue lies; a *95 % interval* or a *standard error* of what was sampled; what it *agrees with*, another
way to the same number, which is no bound but what was seen. Where there is none of these, it is infinite: not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.numerics.judge import BALL
from calclab.numerics.tolerance import tolerance_of

Numbers = Mapping[str, Tensor]

UNKNOWN, EXACT, ITSELF = "not known", "exact", "itself a bound"
BESIDE = {"{}_within": "95 % interval", "{}_error": "standard error"}  # names of numbers about another one
NAMED = {"eigenvalues": ("residuals", "residual"), "importance": ("standard_error", "standard error")}
ENDINGS = ("_low", "_high")
BOUNDS = ("beyond_top", "below_bottom", "gap", "asymmetry")  # numbers that bound others by themselves
QUANTITIES = {  # what evidence calls a number, where that is not its own name
    "loss": "value",
    "gradient_norm": "gradient",
    "singular_values": "singular values",
    "spectral_norm": "singular values",
    "mixed_partials": "second partials",
}
BEGINNINGS = {"derivative": ("∂f/∂", "derivative of "), "gradient": ("∂f/∂",), "gradient_norm": ("∂f/∂",)}
PROVEN = (Verdict.CERTIFIED, Verdict.SUSPECT)  # verdicts that come with a proven number
AGAIN = "evaluated again"  # a check that says nothing of how far a number is off


@dataclass(frozen=True)
class Bound:
    """``size``: a number, or a tensor of the shape of what it bounds; ``by``: how that is known."""

    size: float | Tensor
    by: str


def bounds(values: Mapping[str, Tensor | str], rows: Sequence[Evidence]) -> dict[str, Bound]:
    """The bound of every number among ``values``, but for those that are themselves the bound of another. ``rows`` is
    the evidence of the point that the answer is about."""
    numbers = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    aside = set(companions(values))
    return {name: bound(name, numbers, rows) for name in numbers if name not in aside}


def companions(values: Mapping[str, Tensor | str]) -> Iterator[str]:
    """The names of numbers that say how far another one can be off."""
    for name in values:
        yield from (form.format(name) for form in BESIDE)
        yield from (name + end for end in ENDINGS)
        if name in NAMED:
            yield NAMED[name][0]


def bound(name: str, numbers: Numbers, rows: Sequence[Evidence]) -> Bound:
    """The surest bound of one number."""
    value = numbers[name]
    if not value.is_floating_point():
        return Bound(spread(0.0, value), EXACT)
    if name in BOUNDS or name.endswith(ENDINGS):
        return Bound(spread(0.0, value), ITSELF)
    own = [row for row in rows if is_of(row, name) and row.method != AGAIN]
    size = proven([row for row in own if row.method == BALL], value)
    if size is not None and name == "gradient_norm":  # |‖g‖ - ‖h‖| <= ‖g - h‖
        size = (
            size * max((numbers[given].numel() for given in ("gradient", "x") if given in numbers), default=inf) ** 0.5
        )
    if size is not None:
        return Bound(plain(size), f"proven: {BALL}")
    beside, kind = NAMED.get(name, ("", ""))
    for said, by in {beside: kind, **{form.format(name): by for form, by in BESIDE.items()}}.items():
        if said in numbers:
            return Bound(plain(numbers[said]), by)
    low, high = (numbers.get(name + end) for end in ENDINGS)
    if low is not None and high is not None:
        size, ulp = torch.maximum(high - value, value - low), torch.finfo(value.dtype).eps * value.abs()
        return Bound(plain(size.maximum(ulp)), "interval")
    agreeing = [row for row in own if row.verdict is Verdict.CONSISTENT and isfinite(row.bound)]
    if agreeing and name not in ("gradient_norm", "spectral_norm"):
        best = min(agreeing, key=lambda row: row.bound)
        rounding = torch.finfo(value.dtype).eps * float(value.abs().max()) if value.numel() else 0.0
        return Bound(spread(max(best.bound, rounding), value), f"agrees with {best.method}")
    return Bound(spread(inf, value), UNKNOWN)


def proven(rows: Sequence[Evidence], value: Tensor) -> Tensor | None:
    """How far each entry can be from its proven number; None where that is not known of all.

    A row tells of the entry that is furthest off, relative to itself or to a scale of all: no other is further.
    """
    if not rows or any(row.verdict not in PROVEN or not isfinite(row.bound) for row in rows):
        return None
    found = torch.zeros(value.shape, dtype=torch.float64)
    for row in rows:
        share = row.bound / abs(row.reference) if row.bound and row.reference else 0.0
        share = share if row.verdict is Verdict.CERTIFIED else max(share, tolerance_of(torch.float64).certified)
        size = value.double().cpu().abs() * (share / (1 - share) if share < 1 else inf)
        found = found.maximum(size.clamp(min=row.bound))
    return found


def is_of(row: Evidence, name: str) -> bool:
    """Whether a check is of the number called ``name``."""
    return row.quantity in (name, QUANTITIES.get(name)) or row.quantity.startswith(BEGINNINGS.get(name, ("\0",)))


def spread(size: float, value: Tensor) -> float | Tensor:
    """One size for every entry."""
    return size if not value.ndim else torch.full(value.shape, size, dtype=torch.float64)


def plain(size: Tensor) -> float | Tensor:
    return size.double() if size.ndim else float(size)
