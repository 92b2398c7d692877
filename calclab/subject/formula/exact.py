"""What is known of a formula beyond its float program: rigorous balls, closed forms, and the text to typeset."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.core import Ball
from calclab.errors import UserError
from calclab.subject.formula import closed, spectra, typeset
from calclab.subject.formula.adjoint import VARIABLES, straight, straight_rows
from calclab.subject.formula.balls import Sweep, Tape, choices, lines, underflow
from calclab.subject.formula.bind import Bound
from calclab.subject.formula.precision import (
    PRECISIONS,
    SMALL,
    TINY,
    ExhaustedError,
    Found,
    arb,
    assemble,
    climb,
    limited,
    unknown,
)
from calclab.subject.formula.rules import anything, flint, nan
from calclab.subject.formula.symbols import LONG
from calclab.subject.formula.unroll import TooLargeError, degree, unroll

ENTRIES = 30_000_000  # steps times columns of a Hessian beyond which none is enclosed
LINES = 16  # sets of coordinates with ties of their own; beyond, all ties count for all
NEAR = (200, 400, 800)  # one-sided derivatives are taken 2^-200 away, and so near to see whether they grow
LEAST = -1080  # the exponent of what is smaller than every float: the unit of a coordinate that is 0
NEAR_PRECISION = 5000
DYING = 2.0**-10  # a quotient that falls so much from one step to the next tends to 0
SIDES = 4000  # steps times variables beyond which no quotients are taken
REMEMBERED = 16  # balls


class FormulaExact:
    """Implements ``calclab.core.Exact`` for a formula whose variables are known."""

    def __init__(self, bound: Bound, vector: bool, variables: tuple[str, ...], letter: str = "f") -> None:
        self.letter = letter  # the function's name in LaTeX
        self.bound = bound
        self.vector = vector
        self.variables = variables
        self.found: dict[tuple[Any, ...], Ball] = {}

    @cached_property
    def latex(self) -> str:
        """The formula as LaTeX, for instance f(x) = x^{2}."""
        return typeset.formula(self.bound, self.vector, self.variables, self.letter)

    @cached_property
    def tape(self) -> Tape | None:
        try:
            return Tape(unroll(self.bound))
        except TooLargeError:
            return None

    @cached_property
    def lean(self) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """Value and gradient (of a vector function, its Jacobian) in a straight line, where short and smooth."""
        if len(self.variables) > VARIABLES or self.tape is None:
            return None
        return straight_rows(self.tape.steps) if self.vector else straight(self.tape.steps)

    def depends(self) -> list[list[int]] | None:
        """Which coordinates each output is written with, so that the others' derivatives are zero; None: too large."""
        if self.tape is None:
            return None
        steps, below = self.tape.steps, self.tape.below
        return [[j for j in range(steps.n) if below[root] >> j & 1] for root in steps.roots]

    @cached_property
    def degree(self) -> float:
        """The degree as a polynomial, at most; infinite where it is none, or too large to tell."""
        return math.inf if self.tape is None else degree(self.tape.steps)

    def derivative_latex(self, order: int) -> list[str]:
        """Closed forms to typeset, one equation a string; where they would be too long to read, a line that says so."""
        if self.tape is None:
            return [closed.refusal(LONG)]
        return closed.latex(self.tape.steps, self.variables, self.vector, self.letter, order)

    def enclose(self, x: Tensor, order: int) -> Ball:
        """Balls around the derivative tensor of ``order`` 0, 1 or 2 at x, whose entries are taken as exact."""
        tape, shape = self.tape, self.shape(order)
        if tape is None or (order == 2 and len(tape.nodes) * len(x) * len(tape.steps.roots) > ENTRIES):
            return unknown(shape)
        point = x.detach().double().tolist()
        return self.once(
            ("derivative", order, *point),
            lambda: climb(lambda: assemble(self.entries(tape, [arb(v) for v in point], order), shape), shape),
        )

    def once(self, question: tuple[Any, ...], find: Callable[[], Ball]) -> Ball:
        """A ball that was asked for before, or a new one: evidence, answer and sentence ask for the same."""
        ball = self.found.get(question)
        if ball is None:
            if len(self.found) >= REMEMBERED:
                self.found.clear()
            ball = self.found[question] = find()
        return ball

    def rounding(self, x: Tensor, order: int) -> Tensor:
        """How far the rounding of every step can move the derivative tensor, in numbers of the dtype of x: the radius
        of balls of that precision. Infinite where they know nothing, or numbers too small for the dtype enter.
        """
        tape, shape = self.tape, self.shape(order)
        if tape is None:
            return unknown(shape).rad
        digits, point = round(1 - math.log2(torch.finfo(x.dtype).eps)), x.detach().double().tolist()
        ball = climb(lambda: assemble(self.entries(tape, [arb(v) for v in point], order), shape), shape, (digits,))
        rad = ball.rad.nan_to_num(nan=math.inf)
        with contextlib.suppress(ExhaustedError), limited():
            lost = torch.tensor(underflow(Sweep(tape, [arb(v) for v in point]), torch.finfo(x.dtype).tiny))
            rad[lost if self.vector else lost[0]] = math.inf
        return rad

    def one_sided(self, x: Tensor, order: int = 1) -> tuple[Tensor, Tensor]:
        """From the left and from the right, the limits of the difference quotients that define the derivative tensor of
        ``order`` 1 or 2, by its last variable and where it is not finite: measured 2^-200 away and nearer, infinite
        where they grow, NaN where they do not settle. Where there is no value to start from, those of the slopes.
        """
        here = self.enclose(x, order)
        known = torch.where(here.mid.isfinite(), here.mid, math.nan)
        sides = known, known.clone()
        wanted = sorted({at[-1] for at in (~here.mid.isfinite()).nonzero().tolist()})
        tape, shape = self.tape, self.shape(order)
        if tape is None or len(tape.nodes) * len(wanted) * order > SIDES:
            return sides
        point = x.detach().double().tolist()
        units = [math.frexp(v)[1] if v else LEAST for v in point]
        start = [arb(v) for v in point]

        def lower(at: list[Any]) -> Found:
            return self.entries(tape, at, 0) if order == 1 else self.slopes(tape, at, units)

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
                            there = self.entries(tape, near, order)
                            slope |= {at: there.get(at, arb(0)) for at in slope if not base[at[:-1]].is_finite()}
                        quotients.append(assemble(slope, shape))
                    side[..., i] = limit(*(settled(ball)[..., i] for ball in quotients))
        return sides

    def slopes(self, tape: Tape, here: list[Any], units: list[int]) -> Found:
        """The first derivatives at a point; one that is not proven is the quotient 2^-1600 units to both sides, if it
        is the same on both."""
        first, values = self.entries(tape, here, 1), self.entries(tape, here, 0)
        found = {(*lead, i): first.get((*lead, i), arb(0)) for lead in values for i in range(len(here))}
        for i in sorted({at[-1] for at, value in found.items() if not value.is_finite()}):
            h = arb(2) ** (units[i] - 2 * NEAR[-1])
            left, right = (self.entries(tape, moved(here, i, step), 0) for step in (-h, h))
            for lead, value in values.items():
                if not found[*lead, i].is_finite():
                    one, other = (value - left[lead]) / h, (right[lead] - value) / h
                    same = abs(one - other) <= abs(one) * SMALL or abs(one) + abs(other) < arb(2) ** -1100
                    found[*lead, i] = (one + other) / 2 if same else nan()
        return found

    def eigenvalues(self, x: Tensor) -> Ball:
        """Balls around the eigenvalues of the Hessian, ascending, (n,)."""
        if self.vector:
            raise UserError("Eigenvalues of the Hessian need one formula, not a list.")
        return self.spectrum(x, 2, (len(x),), spectra.eigenvalues)

    def singular_values(self, x: Tensor) -> Ball:
        """Balls around the singular values of the Jacobian, descending, (min(m, n),)."""
        return self.spectrum(x, 1, (min(len(self.bound.tree.roots), len(x)),), spectra.singular_values)

    def orientation(self, x: Tensor) -> float | None:
        """The sign of det J, J square: 1, -1, or None where neither can be proven."""
        ball = self.spectrum(x, 1, (1,), spectra.sign_of_determinant)
        return float(ball.mid) if float(ball.rad) == 0 else None

    def spectrum(
        self, x: Tensor, order: int, shape: tuple[int, ...], values: Callable[[list[list[Any]]], list[Any]]
    ) -> Ball:
        tape = self.tape
        rows, columns = (len(self.bound.tree.roots) if order == 1 else len(x)), len(x)
        if tape is None or max(rows, columns) > spectra.LARGEST:
            return unknown(shape)
        point = x.detach().double().tolist()

        def balls() -> Ball:
            found = self.entries(tape, [arb(v) for v in point], order)
            zero = arb(0)
            at = (lambda i, j: (i, j)) if order == 2 or self.vector else (lambda i, j: (j,))
            matrix = [[found.get(at(i, j), zero) for j in range(columns)] for i in range(rows)]
            entries = [entry for row in matrix for entry in row]
            if any(not entry.is_finite() for entry in entries):
                missing = any(entry.is_nan() for entry in entries)
                return Ball(unknown(shape).mid + (math.nan if missing else 0.0), unknown(shape).rad)
            return assemble({(k,): value for k, value in enumerate(values(matrix))}, shape)

        return self.once((values, *point), lambda: climb(balls, shape, PRECISIONS[1:]))

    def shape(self, order: int) -> tuple[int, ...]:
        lead = (len(self.bound.tree.roots),) if self.vector else ()
        return lead + (self.bound.n,) * order

    def entries(self, tape: Tape, x: Sequence[Any], order: int) -> Found:
        """The entries of the derivative tensor that are not 0 by structure, at the precision of the moment."""
        sweep = Sweep(tape, x)
        values = agree([self.order(tape, s, 0, []) for s in choices(sweep, 0)], either=True)
        if order == 0:
            return values
        broken = {at[:1] if self.vector else (): value for at, value in values.items() if not value.is_finite()}
        along = lines(sweep)
        if len(along) > LINES:
            along = [(1 << self.bound.n) - 1]
        first: Found = {}
        for line in along:
            first |= self.along(sweep, line, line)[0]
        if order == 1:
            return self.spoil(first, broken, 1)
        second: Found = {}
        for k, line in enumerate(along):
            for other in along[k:]:
                second |= self.along(sweep, line, other, 2)[1]
        for at, slope in first.items():
            if not slope.is_finite():  # and so its own derivatives do not exist, or are not known
                for j in range(self.bound.n):
                    second[(*at, j)] = second[(*at[:-1], j, at[-1])] = nan() if slope.is_nan() else anything()
        return self.spoil(second, broken, 2)

    def along(self, sweep: Sweep, line: int, other: int, order: int = 1) -> tuple[Found, Found]:
        """First derivatives by the coordinates of ``line`` (sets, as bits), and of ``order`` 2 the second ones by one
        of ``line`` and one of ``other``, both ways; where the function or a slope jumps there, they are NaN.
        """
        tape, sweeps = sweep.tape, choices(sweep, line | other)
        firsts = agree([self.order(tape, s, 1, []) for s in sweeps])
        if len(sweeps) > 1:
            values = agree([self.order(tape, s, 0, []) for s in sweeps])
            jumps = {at for at, value in values.items() if value.is_nan()}
            for lead in jumps:
                firsts |= {(*lead, i): nan() for i in range(self.bound.n)}
        first = {at: value for at, value in firsts.items() if line >> at[-1] & 1}
        if order == 1:
            return first, {}
        seconds = agree([self.order(tape, s, 2, tape.users(s.chosen)) for s in sweeps])
        for at, slope in firsts.items():
            if slope.is_nan():
                for j in range(self.bound.n):
                    seconds[(*at, j)] = seconds[(*at[:-1], j, at[-1])] = nan()
        return first, {
            at: value
            for at, value in seconds.items()
            if (line >> at[-2] & 1 and other >> at[-1] & 1) or (other >> at[-2] & 1 and line >> at[-1] & 1)
        }

    def order(self, tape: Tape, sweep: Sweep, order: int, users: list[list[tuple[int, int]]]) -> Found:
        found: Found = {}
        for row, root in enumerate(tape.steps.roots):
            lead = (row,) if self.vector else ()
            if order == 0:
                found[lead] = arb(sweep.values[root])
            elif order == 1:
                found.update({(*lead, i): arb(value) for i, value in sweep.gradient(root).items()})
            else:
                found.update({(*lead, *at): arb(value) for at, value in sweep.hessian(root, users).items()})
        return found

    def spoil(self, found: Found, broken: Found, order: int) -> Found:
        """Where the function itself has no value, or is not known to have one, so it is with its derivatives."""
        for lead, value in broken.items():
            for place in torch.cartesian_prod(*[torch.arange(self.bound.n)] * order).reshape(-1, order).tolist():
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
