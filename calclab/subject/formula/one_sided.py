"""One-sided derivatives of a formula where no proof has them: difference quotients 2^-200 away, and nearer to see
whether they settle, grow or die out. They are measured, not proven."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor

from calclab.core import Ball
from calclab.subject.formula.balls import Tape
from calclab.subject.formula.enclosure import entries
from calclab.subject.formula.precision import SMALL, TINY, ExhaustedError, Found, assemble, limited
from calclab.subject.formula.rules import arb, flint, nan

NEAR = (200, 400, 800)  # one-sided derivatives are taken 2^-200 away, and so near to see whether they grow
LEAST = -1080  # the exponent of what is smaller than every float: the unit of a coordinate that is 0
NEAR_PRECISION = 5000
DYING = 2.0**-10  # a quotient that falls so much from one step to the next tends to 0
SIDES = 4000  # steps times variables beyond which no quotients are taken


def one_sided(tape: Tape | None, x: Tensor, order: int, here: Ball, vector: bool) -> tuple[Tensor, Tensor]:
    """From the left and from the right, the limits of the difference quotients that define the derivative tensor of
    ``order`` 1 or 2 at x (n,), by its last variable and where ``here``, its ball, is not finite: infinite where they
    grow, NaN where they do not settle. Where there is no value to start from, those of the slopes.
    """
    known = torch.where(here.mid.isfinite(), here.mid, math.nan)
    sides = known, known.clone()
    wanted = sorted({at[-1] for at in (~here.mid.isfinite()).nonzero().tolist()})
    shape = tuple(here.mid.shape)
    if tape is None or len(tape.nodes) * len(wanted) * order > SIDES:
        return sides
    point = x.detach().double().tolist()
    units = [math.frexp(v)[1] if v else LEAST for v in point]
    start = [arb(v) for v in point]

    def lower(at: list[Any]) -> Found:
        return entries(tape, at, 0, vector) if order == 1 else slopes(tape, at, units, vector)

    with contextlib.suppress(ExhaustedError), limited(), flint().ctx.workprec(NEAR_PRECISION * order):
        base = lower(start)
        for side, sign in zip(sides, (-1, 1), strict=True):
            for i in wanted:
                quotients = []
                for bits in NEAR:
                    h = sign * arb(2) ** (units[i] - bits)
                    near = moved(start, i, h)
                    found = lower(near)
                    slope = {(*at, i): (found.get(at, arb(0)) - value) / h for at, value in base.items()}
                    if any(not value.is_finite() for value in base.values()):
                        there = entries(tape, near, order, vector)
                        slope |= {at: there.get(at, arb(0)) for at in slope if not base[at[:-1]].is_finite()}
                    quotients.append(assemble(slope, shape))
                side[..., i] = limit(*(settled(ball)[..., i] for ball in quotients))
    return sides


def slopes(tape: Tape, here: list[Any], units: list[int], vector: bool) -> Found:
    """The first derivatives at a point; one that is not proven is the quotient 2^-1600 units to both sides, if it
    is the same on both."""
    first, values = entries(tape, here, 1, vector), entries(tape, here, 0, vector)
    found = {(*lead, i): first.get((*lead, i), arb(0)) for lead in values for i in range(len(here))}
    for i in sorted({at[-1] for at, value in found.items() if not value.is_finite()}):
        h = arb(2) ** (units[i] - 2 * NEAR[-1])
        left, right = (entries(tape, moved(here, i, step), 0, vector) for step in (-h, h))
        for lead, value in values.items():
            if not found[*lead, i].is_finite():
                one, other = (value - left[lead]) / h, (right[lead] - value) / h
                same = abs(one - other) <= abs(one) * SMALL or abs(one) + abs(other) < arb(2) ** -1100
                found[*lead, i] = (one + other) / 2 if same else nan()
    return found


def moved(point: list[Any], i: int, h: Any) -> list[Any]:
    """The point with h added to coordinate i."""
    return [v + h if k == i else v for k, v in enumerate(point)]


def settled(ball: Ball) -> Tensor:
    """Midpoints of balls that are small beside them, zero for what is too small for float64; NaN for others."""
    size = ball.mid.abs()
    known = (ball.rad <= SMALL * size) | size.isinf()
    return torch.where(known, ball.mid, math.nan).masked_fill(
        (size <= TINY) & (ball.rad <= 8 * TINY) & (ball.rad > 0), 0.0
    )


def limit(far: Tensor, nearer: Tensor, nearest: Tensor) -> Tensor:
    """The limit of quotients seen ever nearer to a point: infinite where they grow, 0 where they die out, NaN where
    they do not settle."""
    grows = (nearer.abs() > 1.05 * far.abs()) & (nearest.abs() > 1.05 * nearer.abs())
    grows |= nearer.isinf() & nearest.isinf()
    dies = (nearer.abs() < DYING * far.abs()) & (nearest.abs() < DYING * nearer.abs())
    same = (nearer - nearest).abs() <= SMALL * nearest.abs()
    found = torch.where(same, nearest + 0.0, math.nan).masked_fill(dies, 0.0)
    return torch.where(grows, torch.copysign(torch.full_like(far, math.inf), nearest), found)
