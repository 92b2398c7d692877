"""The derivative tensors of a formula in balls, ties and all.

At a tie (two sides of a comparison equal, or not told apart at this precision; the cut of atan2) every choice of sides
is tried. If all choices agree on the value and on a derivative, the function has it: near the point it is, piecewise,
one of these smooth functions. If they do not, the derivative does not exist as far as we know, and its ball is NaN. A
partial derivative sees only the ties whose comparison is written with its coordinate: along it the others stay equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from calclab.subject.formula.balls import Sweep, Tape
from calclab.subject.formula.precision import Found
from calclab.subject.formula.rules import anything, arb, nan

TIES = 4  # kinks at one point of which every combination is tried
LINES = 16  # sets of coordinates with ties of their own; beyond, all ties count for all


def entries(tape: Tape, x: Sequence[Any], order: int, vector: bool) -> Found:
    """The entries of the derivative tensor of ``order`` 0, 1 or 2 at x (n,) that are not 0 by structure, at the
    precision of the moment: by (i,) or (i, j), of a ``vector`` function by (row, i) or (row, i, j)."""
    sweep, n = Sweep(tape, x), tape.steps.n
    values = agree([of_sides(s, 0, vector) for s in choices(sweep, 0)], either=True)
    if order == 0:
        return values
    broken = {at[:1] if vector else (): value for at, value in values.items() if not value.is_finite()}
    sets = lines(sweep)
    if len(sets) > LINES:
        sets = [(1 << n) - 1]
    first: Found = {}
    for line in sets:
        first |= along(sweep, line, line, 1, vector)[0]
    if order == 1:
        return spoil(first, broken, 1, n)
    second: Found = {}
    for k, line in enumerate(sets):
        for other in sets[k:]:
            second |= along(sweep, line, other, 2, vector)[1]
    for at, slope in first.items():
        if not slope.is_finite():  # and so its own derivatives do not exist, or are not known
            for j in range(n):
                second[(*at, j)] = second[(*at[:-1], j, at[-1])] = nan() if slope.is_nan() else anything()
    return spoil(second, broken, 2, n)


def along(sweep: Sweep, line: int, other: int, order: int, vector: bool) -> tuple[Found, Found]:
    """First derivatives by the coordinates of ``line`` (sets, as bits), and of ``order`` 2 the second ones by one
    of ``line`` and one of ``other``, both ways; where the function or a slope jumps there, they are NaN.
    """
    n, sweeps = sweep.tape.steps.n, choices(sweep, line | other)
    firsts = agree([of_sides(s, 1, vector) for s in sweeps])
    if len(sweeps) > 1:
        values = agree([of_sides(s, 0, vector) for s in sweeps])
        jumps = {at for at, value in values.items() if value.is_nan()}
        for lead in jumps:
            firsts |= {(*lead, i): nan() for i in range(n)}
    first = {at: value for at, value in firsts.items() if line >> at[-1] & 1}
    if order == 1:
        return first, {}
    seconds = agree([of_sides(s, 2, vector) for s in sweeps])
    for at, slope in firsts.items():
        if slope.is_nan():
            for j in range(n):
                seconds[(*at, j)] = seconds[(*at[:-1], j, at[-1])] = nan()
    return first, {
        at: value
        for at, value in seconds.items()
        if (line >> at[-2] & 1 and other >> at[-1] & 1) or (other >> at[-2] & 1 and line >> at[-1] & 1)
    }


def of_sides(sweep: Sweep, order: int, vector: bool) -> Found:
    """The entries with the sides that the sweep has chosen."""
    tape = sweep.tape
    users = tape.users(sweep.chosen) if order == 2 else []
    found: Found = {}
    for row, root in enumerate(tape.steps.roots):
        lead = (row,) if vector else ()
        if order == 0:
            found[lead] = arb(sweep.values[root])
        elif order == 1:
            found.update({(*lead, i): arb(value) for i, value in sweep.gradient(root).items()})
        else:
            found.update({(*lead, *at): arb(value) for at, value in sweep.hessian(root, users).items()})
    return found


def spoil(found: Found, broken: Found, order: int, n: int) -> Found:
    """Where the function itself has no value, or is not known to have one, so it is with its derivatives."""
    for lead, value in broken.items():
        for place in product(range(n), repeat=order):
            found[(*lead, *place)] = value
    return found


def agree(parts: list[Found], either: bool = False) -> Found:
    """The hull of enclosures of the same numbers where they overlap, NaN where they contradict each other, unless the
    number is known to be in ``either``: a value is that of one side or the other.
    """
    if len(parts) == 1:
        return parts[0]
    found: Found = {}
    for at in {at for part in parts for at in part}:
        balls = [part.get(at, arb(0)) for part in parts]
        hull = balls[0]
        for ball in balls[1:]:
            hull = hull.union(ball)
        overlap = all(a.overlaps(b) for k, a in enumerate(balls) for b in balls[:k])
        found[at] = hull if overlap or either else nan()
    return found


def choices(sweep: Sweep, smooth: int) -> list[Sweep]:
    """The sweeps of which all must agree: one where nothing is in doubt, else one for each combination of sides.

    ``smooth`` is the set of coordinates, as bits, along which one looks: two equal sides are a doubt where they are
    written with one of these. Sides that are not told apart always are.
    """
    doubts = doubtful(sweep, smooth)
    if not doubts:
        return [sweep]
    tape, x = sweep.tape, sweep.x
    # Choosing a side may bring new doubts to light further on: extend until there are none.
    while len(doubts) <= TIES:
        sweeps = [
            Sweep(tape, x, dict(zip(doubts, sides, strict=True)))
            for sides in product((True, False), repeat=len(doubts))
        ]
        fresh = {k for s in sweeps for k in doubtful(s, smooth)} - doubts
        if not fresh:
            return sweeps
        doubts |= fresh
    return [Sweep(tape, x, lose=True)]


def doubtful(sweep: Sweep, smooth: int) -> set[int]:
    """The steps whose side is in doubt along the coordinates ``smooth``."""
    compared = sweep.tape.compared
    return {*sweep.undecided, *(k for k in sweep.ties if smooth & compared[k])}


def lines(sweep: Sweep) -> list[int]:
    """The coordinates, in sets (as bits) along which the same sides are in doubt."""
    if not sweep.ties:
        return [(1 << sweep.tape.steps.n) - 1]
    found: dict[frozenset[int], int] = {}
    for i in range(sweep.tape.steps.n):
        doubts = frozenset(doubtful(sweep, 1 << i))
        found[doubts] = found.get(doubts, 0) | 1 << i
    return list(found.values())
