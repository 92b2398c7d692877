"""Evidence for formulas: the number against a rigorous Arb ball.

A formula means a real function; Arb (Johansson 2017) encloses its value and its derivatives at the very floats of x in
a ball, mid ± rad, that is proven to hold them. So a float number v is within |v - mid| + rad of the truth, which is the
bound told, and no float arithmetic is trusted for it. Where a ball does not hold a derivative at all (a kink, a pole),
`kinks` says what is known from both sides.

The inputs are taken as exact. That they are themselves rounded, as 0.1 is, is another matter: to first order it moves
the derivative by Σ_j |∂/∂x_j of it| ulp(x_j)/2, which is told beside the verdict where it is more than allowed.

>>> import calclab
>>> f = calclab.formula("exp(x) - 1", at=1e-9)
>>> [row.verdict.word for row in derivative(f, f.start, f.call(f.start), 0, order=0)]  # 7 of 16 digits are left
['suspect']
>>> [row.verdict.word for row in derivative(f, f.start, f.start.exp(), 0, order=1)]
['certified']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor

from calclab.core import Ball, Evidence, Exact, Function, Verdict
from calclab.numerics import kinks, operators
from calclab.numerics.judge import BALL, Judge, Numbers, Reference, apart, failing, flat, largest, sizes
from calclab.numerics.tolerance import tolerance_of

QUANTITIES = ("value", "gradient", "hessian")


@dataclass
class Once:
    """Numbers that are computed when they are first asked for, once for all who ask."""

    make: Callable[[], Numbers]
    found: Numbers | None = None

    def __call__(self) -> Numbers:
        if self.found is None:
            self.found = self.make()
        return self.found


def derivative(
    function: Function,
    x: Tensor,
    value: Tensor,
    step: int,
    *,
    order: int,
    scale: float = 0.0,
    each: bool = False,
) -> list[Evidence]:
    """Evidence for the derivative of ``order`` 0, 1 or 2 of a formula; ``value`` has the shape of ``enclose``.

    One row for all entries, of the worst of them, or with ``each`` one for every partial derivative; entries that are
    not proven have rows of their own. ``scale`` is what gaps are relative to where it is larger than the numbers.
    """
    exact = function.exact
    assert exact is not None
    quantity = "jacobian" if order == 1 and not function.scalar else QUANTITIES[order]
    ball = exact.enclose(x, order)
    known = kinks.gaps(exact, x, order, function.variables, ball)
    ball = kinks.without(ball, known) if known else ball
    rounding = Once(lambda: flat(exact.rounding(x, order)))
    moved = Once(lambda: input_rounding(exact, x, order)) if order < 2 and not scale else None
    shape = tuple(ball.mid.shape)
    reference = Reference(flat(ball.mid), flat(ball.rad), BALL, rounding, moved, ball.beyond, shape)
    none = {i: found.note for i, found in known.items() if found.exists is False}
    judge = Judge(tolerance_of(x.dtype), scale, step, none, Once(lambda: again(function, x, order)))
    numbers = flat(value)
    names = {quantity: np.arange(len(numbers))}
    if each and order == 1 and function.scalar:
        names = {f"∂f/∂{name}": np.array([i]) for i, name in enumerate(function.variables)}
    open_ = [i for i in known if i not in none]
    found = []
    for name, index in names.items():
        found += judge.rows(name, numbers, reference, np.setdiff1d(index, open_))
        some = [i for i in open_ if i in index]
        found += kinks.rows(step, name, numbers.tolist(), known, some, tolerance_of(x.dtype).certified) if some else []
    return found


def gradients(
    function: Function, x: Tensor, values: Tensor, step: int, scales: Sequence[float]
) -> list[list[Evidence]]:
    """Evidence for the gradients (p, n) of a scalar formula at points (p, n), against the ball: as `derivative` gives
    it for each with its scale, but all that simply pass are judged at once.
    """
    exact = function.exact
    assert exact is not None
    if not len(x):
        return []
    balls = [exact.enclose(point, 1) for point in x]
    numbers = flat(values).reshape(values.shape)
    mid, rad = (
        np.stack([flat(part) for part in parts]) for parts in zip(*((b.mid, b.rad) for b in balls), strict=True)
    )
    gaps, bounds = apart(numbers, mid, rad)
    allowed = tolerance_of(x.dtype).certified * sizes(mid, np.array(scales))
    passed = ((bounds <= allowed) & np.isfinite(mid)).all(-1)  # never where a number or a bound is not finite
    worst = failing(bounds, allowed, mid)[:, None]
    shown = [np.take_along_axis(part, worst, -1)[:, 0] for part in (numbers, mid, gaps, bounds, allowed)]
    rows = [
        [Evidence(step, QUANTITIES[1], BALL, value, truth, gap, bound, tolerance, Verdict.CERTIFIED)]
        for value, truth, gap, bound, tolerance in zip(*(part.tolist() for part in shown), strict=True)
    ]
    for i in np.flatnonzero(~passed).tolist():
        rows[i] = derivative(function, x[i], values[i], step, order=1, scale=scales[i])
    return rows


def spectrum(function: Function, quantity: str, numbers: Tensor, ball: Ball, step: int) -> list[Evidence]:
    """Evidence for eigenvalues or singular values (n,) against proven ones in the same order. Rounding moves them by
    n eps times the largest (Weyl).
    """
    mid, tolerance = flat(ball.mid), tolerance_of(numbers.dtype)
    rounding = np.full(len(mid), len(mid) * tolerance.eps * float(largest(mid)))
    reference = Reference(mid, flat(ball.rad), BALL, lambda: rounding, None, ball.beyond, (len(mid),))
    return Judge(tolerance, 0.0, step, {}, None).rows(quantity, flat(numbers), reference, np.arange(len(mid)))


def input_rounding(exact: Exact, x: Tensor, order: int) -> Numbers:
    """How far the true derivative of ``order`` 0 or 1 moves when every input does by half an ulp, flat: to first order
    Σ_j |∂/∂x_j of the derivative| ulp(x_j)/2; 0 where that is not known.
    """
    ball = exact.enclose(x, order + 1)
    known = (ball.mid.abs() > ball.rad) & (ball.mid.abs() >= torch.finfo(torch.float64).tiny)
    higher = torch.where(known, ball.mid, 0.0)
    size = x.detach().to("cpu").abs()
    half_ulp = (torch.nextafter(size, torch.full_like(size, torch.inf)) - size).double() / 2
    return np.nan_to_num(flat(higher.abs() @ half_ulp), nan=0.0, posinf=0.0)


def again(function: Function, x: Tensor, order: int) -> Numbers:
    """What the float program and autograd give, computed anew; flat.

    Where this is near the proven number and the number judged is not, rounding is no excuse: the number is refuted.
    NaN for second derivatives of vector functions, which are not computed a second time.
    """
    if order == 0:
        return flat(function.call(x))
    dense = operators.dense_jacobian if order == 1 else operators.dense_hessian
    if order == 2 and not function.scalar:
        return np.full(len(function.outputs) * len(x) ** 2, nan)
    return flat(dense(function.call, x))
