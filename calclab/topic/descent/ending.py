"""Where a walk ended: decided from the gradient and the signs of the Hessian, with a word of advice.

Descent stops where the gradient vanishes, which may be a saddle or a maximum: Newton's method is drawn to either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Columns, Function, Status
from calclab.numerics.operators import dense_hessian
from calclab.numerics.spectrum import eigenvalues_of, inertia, symmetric
from calclab.topic import words
from calclab.topic.descent.forecast import Forecast
from calclab.topic.descent.runaway import runs_away

FAR = 1e-3  # times the gradient norm at the start: beyond it no gradient is a rounding error
DENSE = 200  # variables up to which the Hessian is formed to tell


@dataclass(frozen=True)
class Ending:
    """``word``: minimum, saddle, maximum, flat, stationary (its kind not known), moving, diverged or nonfinite."""

    word: str
    sentence: str


def ends(
    columns: Columns, tol: float | Tensor, scale: tuple[float | Tensor, float | Tensor], *, settles: bool
) -> list[tuple[int, Status] | None]:
    """The first step of a block at which each run should have ended, and how; None where it goes on.

    Columns are (steps,) of one run or (steps, runs); ``tol`` and ``scale`` may be (runs,). Of mini-batches nothing
    ``settles``: a few rows may agree by luck.
    """
    loss, size = columns["loss"].data, columns["gradient_norm"].data
    hits = {Status.NONFINITE: ~(loss.isfinite() & size.isfinite()), Status.DIVERGED: runs_away(loss, size, scale)}
    if settles:
        hits[Status.CONVERGED] = size < tol
    hit = torch.stack(list(hits.values())).reshape(len(hits), len(loss), -1)
    first = torch.where(hit.any(1), hit.int().argmax(1), len(loss))  # (ways, runs)
    steps, ways = columns["loss"].steps, tuple(hits)
    order = first * len(ways) + torch.arange(len(ways))[:, None]  # of ways at one step the first counts
    found = (divmod(number, len(ways)) for number in order.amin(0).tolist())
    return [(steps[at], ways[way]) if at < len(steps) else None for at, way in found]


def ending(
    function: Function,
    x: Tensor,
    loss: Tensor,
    gradient: Tensor,
    contraction: Tensor,
    tol: float,
    scale: float,
    runaway: bool,
    forecast: Forecast | None,
) -> Ending:
    """Where x is; ``scale`` is ‖g‖ at the start, at least 1.

    Stationary: ‖g‖ < tol, or within rounding of zero, ‖g‖ <= √eps ‖H‖ (1 + ‖x‖)."""
    if not bool(loss.isfinite() & gradient.isfinite().all() & x.isfinite().all()):
        return Ending("nonfinite", f"it left the finite numbers; {smaller(forecast)}")
    if runaway:
        return Ending("diverged", f"it runs away; {smaller(forecast)}")
    size = gradient.norm()
    if bool(size > max(tol, FAR * scale)):
        return Ending("moving", f"it is still moving: {further(size, contraction, tol)}")
    λ = curvatures(function, x) if len(x) <= DENSE else None
    rounding = 0.0 if λ is None else torch.finfo(x.dtype).eps ** 0.5 * λ.abs().max() * (1 + x.norm())
    if not bool((size < tol) | (size <= rounding)):
        return Ending("moving", f"it is still moving: {further(size, contraction, tol)}")
    if λ is None:
        return Ending("stationary", "the gradient has vanished; topic=hessian on the saved weights tells what it is")
    if not bool(λ.isfinite().all()):
        return Ending("stationary", "the gradient has vanished where the Hessian does not exist: a kink")
    found = inertia(λ)
    listed = f"Hessian eigenvalues {words.ends(λ)}"
    match found.word:
        case "minimum":
            return Ending("minimum", f"it is a minimum ({listed})")
        case "maximum":
            return Ending("maximum", f"it is a maximum ({listed}); {uphill}")
        case "saddle":
            return Ending(
                "saddle", f"it is a saddle ({listed}), {found.negative} of {len(x)} directions go down; {uphill}"
            )
    return Ending("flat", f"it is flat ({listed}): the second derivatives do not tell what the point is")


uphill = "start elsewhere (function.at=...), or take a rule that only goes down (optimizer=gd, optimizer=damped_newton)"


def curvatures(function: Function, x: Tensor) -> Tensor:
    """The Hessian's eigenvalues at x, ascending: proven where they can be, and zero where zero is within the bound."""
    if function.exact is not None:
        ball = function.exact.eigenvalues(x)
        if bool((ball.mid.isfinite() & ball.rad.isfinite()).all()):
            return torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid).to(x)
    return eigenvalues_of(symmetric(dense_hessian(function.call, x)))


def smaller(forecast: Forecast | None) -> str:
    if forecast is None or forecast.limit is None:
        return "try a smaller lr or another start"
    where = "" if forecast.quadratic else " at the start"
    return f"the largest stable lr{where} is {words.number(forecast.limit)}: try lr={words.number(forecast.limit / 2)}"


def further(size: Tensor, contraction: Tensor, tol: float) -> str:
    """How far it still has to go, if it goes on as in its last step."""
    rate, norm = float(contraction), float(size)
    if tol == 0:
        return "tol=0 never ends a run"
    if not 0 < rate < 1:
        return "the gradient grew in the last step; take more steps, or a smaller lr"
    more = (math.log(tol) - math.log(norm)) / math.log(rate)
    if more > 1e7:
        return "the gradient hardly shrinks; take a larger lr, or another rule (optimizer=momentum, optimizer=lbfgs)"
    return f"at the pace of its last step about {int(more) + 1} steps more would do"
