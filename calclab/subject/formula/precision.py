"""From Arb's balls to float64, rounded outward; how precise they are made, and how much may be spent on that.

Precision is doubled until every ball is small beside its midpoint, so that a ball is wide only where the number really
cannot be told (0 written as a difference, a kink, a hole in the domain). What is spent is counted in operations on
balls and not in seconds, so that runs say the same: one unit is an addition or a product at a few hundred bits, about a
microsecond.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from calclab.core import Ball
from calclab.subject.formula.rules import arb, flint

PRECISIONS = (106, 212, 424, 848)  # bits
FINEST, FEW = 2544, 16  # ... and for so few numbers these, at which 1e-300 is seen beside 1
SMALL = 2.0**-50  # the radius to reach, relative to the midpoint
ACCURATE = 40  # bits that a number beyond float64's normal range must have
NORMAL = 2.0**-1022  # the smallest float64 with all its digits
TINY = 2.0**-1074  # the smallest of all
Found = dict[tuple[int, ...], Any]  # the entries that are not exactly 0

MOST = 1_500_000  # units for one tensor of derivatives at one point
BITS = 256  # beyond these an operation costs more, in proportion
PLAIN = {"number", "pi", "x", "add", "sub", "neg", "mul", "div", "total", "select"}
DEAR = {"pow": 2.0, "gamma": 60.0, "lgamma": 60.0, "erf": 15.0, "erfc": 15.0}
OTHERS = 4.0


class ExhaustedError(Exception):
    """More than may be spent."""


_left: list[float] = []  # of the proofs under way, the innermost last


@contextlib.contextmanager
def limited(most: float = MOST) -> Iterator[None]:
    """Within it, no more than ``most`` units are spent: ExhaustedError."""
    _left.append(most)
    try:
        yield
    finally:
        _left.pop()


def spend(units: float) -> None:
    """Units at the precision of the moment."""
    if _left:
        _left[-1] -= units * max(1.0, flint().ctx.prec / BITS)
        if _left[-1] < 0:
            raise ExhaustedError


def cost(op: str, args: int) -> float:
    """Units that an operation takes."""
    return float(max(1, args - 1)) if op in PLAIN else DEAR.get(op, OTHERS)


def climb(balls: Callable[[], Ball], shape: tuple[int, ...], precisions: Sequence[int] = PRECISIONS) -> Ball:
    """Balls of ``shape`` at growing precision, until each is small beside its midpoint, or the work is done that may be
    spent: then the last ones, or none.
    """
    ball = unknown(shape)
    with contextlib.suppress(ExhaustedError), limited():
        for precision in (*precisions, FINEST) if len(precisions) > 1 and math.prod(shape) <= FEW else precisions:
            with flint().ctx.workprec(precision):
                ball = balls()
            size = np.abs(ball.mid.numpy()).reshape(-1)
            reached = (ball.rad.numpy().reshape(-1) <= SMALL * size) & (size < math.inf)
            reached[list(ball.beyond)] = True
            if reached.all():
                break
    return ball


def unknown(shape: tuple[int, ...]) -> Ball:
    """Nothing could be proven."""
    return Ball(torch.zeros(shape, dtype=torch.float64), torch.full(shape, math.inf, dtype=torch.float64))


def assemble(found: Found, shape: tuple[int, ...]) -> Ball:
    """Balls of Arb as float64 midpoints and radii, rounded outward."""
    mid, rad = np.zeros(shape), np.zeros(shape)
    beyond: dict[int, str] = {}
    for at, value in found.items():
        mid[at], rad[at] = middle, radius = outward(value)
        normal = NORMAL <= abs(middle) < math.inf or radius == 0
        if not normal and value.is_finite() and value.rel_accuracy_bits() > ACCURATE:
            place = int(np.ravel_multi_index(at, shape)) if shape else 0
            beyond[place] = decimal(value)
    return Ball(torch.from_numpy(mid), torch.from_numpy(rad), beyond)


def decimal(value: Any) -> str:
    """A number that float64 does not hold, to seven digits; of one with an exponent of more than 15 digits its size."""
    mantissa, exponent = value.mid().man_exp()
    sign, size = "-" * bool(value < 0), int(exponent)
    if size.bit_length() > 1000:  # beyond float64 itself
        digits = round(size.bit_length() * math.log10(2) + math.log10(math.log10(2)))
        return f"about {sign}10**({'-' * (size < 0)}10**{digits})"
    power = (int(mantissa).bit_length() + int(exponent)) * math.log10(2)
    return value.str(7, radius=False) if abs(power) < 1e15 else f"about {sign}10**({power:.4g})"


def outward(ball: Any) -> tuple[float, float]:
    """(midpoint, radius) in float64 that contain the ball: the radius includes the rounding of the midpoint. What is
    too small for float64 keeps its sign, what is too large has an infinite radius.
    """
    if ball.is_nan():
        return math.nan, math.inf
    middle = float(ball.mid())
    if not math.isfinite(middle):
        return middle, math.inf
    if middle == 0 and (ball > 0 or ball < 0):
        middle = math.copysign(TINY, 1 if ball > 0 else -1)
    away = abs(ball - arb(middle))
    if away.is_zero():
        return middle, 0.0
    bound = float(away.upper())
    return middle, math.nextafter(math.nextafter(bound, math.inf), math.inf)
