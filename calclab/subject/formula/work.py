"""How much may be spent on a proof: counted in operations on balls and not in seconds, so that runs say the same.

One unit is an addition or a product at a few hundred bits, about a microsecond.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from calclab.subject.formula.rules import flint

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
