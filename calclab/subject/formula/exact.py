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
from calclab.subject.formula.balls import Sweep, Tape, underflow
from calclab.subject.formula.bind import Bound
from calclab.subject.formula.enclosure import entries
from calclab.subject.formula.one_sided import one_sided
from calclab.subject.formula.precision import (
    PRECISIONS,
    ExhaustedError,
    assemble,
    climb,
    limited,
    unknown,
)
from calclab.subject.formula.rules import arb
from calclab.subject.formula.symbols import LONG
from calclab.subject.formula.unroll import TooLargeError, degree, unroll

ENTRIES = 30_000_000  # steps times columns of a Hessian beyond which none is enclosed
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
        return self.once(("derivative", order, *point), lambda: self.climbed(tape, point, order, PRECISIONS))

    def climbed(self, tape: Tape, point: list[float], order: int, precisions: Sequence[int]) -> Ball:
        """Balls around the derivative tensor at ``precisions`` until they are narrow."""
        shape = self.shape(order)

        def balls() -> Ball:
            return assemble(entries(tape, [arb(v) for v in point], order, self.vector), shape)

        return climb(balls, shape, precisions)

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
        ball = self.climbed(tape, point, order, (digits,))
        rad = ball.rad.nan_to_num(nan=math.inf)
        with contextlib.suppress(ExhaustedError), limited():
            lost = torch.tensor(underflow(Sweep(tape, [arb(v) for v in point]), torch.finfo(x.dtype).tiny))
            rad[lost if self.vector else lost[0]] = math.inf
        return rad

    def one_sided(self, x: Tensor, order: int = 1) -> tuple[Tensor, Tensor]:
        """The limits of the quotients from the left and from the right, where there is no proof."""
        return one_sided(self.tape, x, order, self.enclose(x, order), self.vector)

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
            found = entries(tape, [arb(v) for v in point], order, self.vector)
            zero = arb(0)
            at = (lambda i, j: (i, j)) if order == 2 or self.vector else (lambda i, j: (j,))
            matrix = [[found.get(at(i, j), zero) for j in range(columns)] for i in range(rows)]
            flat = [entry for row in matrix for entry in row]
            if any(not entry.is_finite() for entry in flat):
                missing = any(entry.is_nan() for entry in flat)
                return Ball(unknown(shape).mid + (math.nan if missing else 0.0), unknown(shape).rad)
            return assemble({(k,): value for k, value in enumerate(values(matrix))}, shape)

        return self.once((values, *point), lambda: climb(balls, shape, PRECISIONS[1:]))

    def shape(self, order: int) -> tuple[int, ...]:
        lead = (len(self.bound.tree.roots),) if self.vector else ()
        return lead + (self.bound.n,) * order
