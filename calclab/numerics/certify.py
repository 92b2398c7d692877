"""Evidence for formulas: the number against a rigorous Arb ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor

from calclab.core import Ball, Evidence, Exact, Function, Verdict
from calclab.numerics import operators
from calclab.numerics.judge import BALL, Judge, Numbers, Reference, apart, flat, largest
from calclab.numerics.kinks import kink_notes, without_kinks
from calclab.numerics.tolerance import tolerance_of

QUANTITIES = ("value", "gradient", "hessian")


@dataclass
class Blur:
    """What half an ulp of x does to a derivative, found once for whoever asks; None as long as nobody has."""

    exact: Exact
    x: Tensor
    order: int
    ball: Ball
    found: Numbers | None = None

    def __call__(self) -> Numbers:
        if self.found is None:
            self.found = sensitivity_of(self.exact, self.x, self.order, self.ball)
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
    """Evidence for the derivative of ``order`` 0, 1 or 2 of a formula; ``value`` has the shape of ``enclose``."""
    exact = function.exact
    assert exact is not None
    quantity = "jacobian" if order == 1 and not function.scalar else QUANTITIES[order]
    ball = exact.enclose(x, order)
    if order == 2:
        ball = without_kinks(ball, exact.enclose(x, 1))
    sensitivity = Blur(exact, x, order, ball)
    width = len(x) if order == 1 else 0
    reference = Reference(flat(ball.mid), flat(ball.rad), sensitivity, BALL, width)
    missing = np.flatnonzero(np.isnan(reference.mid)).tolist()
    kinks = kink_notes(exact, x, order, missing, function.variables) if missing else {}
    judge = Judge(tolerance_of(x.dtype), scale, step, kinks, lambda: again(function, x, order))
    numbers = flat(value)
    names = {quantity: np.arange(len(numbers))}
    if each and order == 1 and function.scalar:
        names = {f"∂f/∂{name}": np.array([i]) for i, name in enumerate(function.variables)}
    return [row for name, index in names.items() for row in judge.rows(name, numbers, reference, index)]


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
    allowed = tolerance_of(x.dtype).certified * np.maximum(largest(mid), scales)
    passed = (bounds <= allowed[:, None]).all(-1)  # never where a number or a bound is not finite
    worst = np.where((mid == 0) & (bounds == 0), -1.0, bounds).argmax(-1)[:, None]
    shown = [np.take_along_axis(part, worst, -1)[:, 0] for part in (numbers, mid, gaps, bounds)]
    rows = [
        [Evidence(step, QUANTITIES[1], BALL, value, truth, gap, bound, tolerance, Verdict.CERTIFIED)]
        for value, truth, gap, bound, tolerance in zip(*(part.tolist() for part in (*shown, allowed)), strict=True)
    ]
    for i in np.flatnonzero(~passed).tolist():
        rows[i] = derivative(function, x[i], values[i], step, order=1, scale=scales[i])
    return rows


def spectrum(function: Function, quantity: str, numbers: Tensor, ball: Ball, step: int) -> list[Evidence]:
    """Evidence for eigenvalues or singular values against proven ones in the same order."""
    mid = flat(ball.mid)
    reference = Reference(mid, flat(ball.rad), lambda: np.zeros_like(mid), BALL)
    return Judge(tolerance_of(numbers.dtype), 0.0, step, {}, None).rows(
        quantity, flat(numbers), reference, np.arange(len(mid))
    )


def sensitivity_of(exact: Exact, x: Tensor, order: int, ball: Ball) -> Numbers:
    """How far the true derivative moves when every input moves by half an ulp, to first order; flat.

    Σ_j |∂/∂x_j of the derivative| ulp(x_j)/2, by the exact object itself or from the derivative one order higher.
    """
    own = getattr(exact, "sensitivity", None)
    if own is not None:
        return np.nan_to_num(flat(own(x, order)), nan=0.0, posinf=0.0)
    if order > 1:
        return np.zeros(ball.mid.numel())
    higher = exact.enclose(x, order + 1).mid.detach().to("cpu", torch.float64)
    half_ulp = x.detach().to("cpu", torch.float64).abs() * torch.finfo(x.dtype).eps / 2
    return np.nan_to_num(flat(higher.abs() @ half_ulp), nan=0.0, posinf=0.0)


def again(function: Function, x: Tensor, order: int) -> Numbers:
    """What the float program and autograd give, computed anew; flat."""
    if order == 0:
        return flat(function.call(x))
    dense = operators.dense_jacobian if order == 1 else operators.dense_hessian
    if order == 2 and not function.scalar:
        return np.full(len(function.outputs) * len(x) ** 2, nan)
    return flat(dense(function.call, x))
