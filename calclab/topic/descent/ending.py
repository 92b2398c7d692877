"""Where a walk ended: decided from the gradient and the signs of the Hessian, with a word of advice.

Descent stops where the gradient vanishes, which may be a saddle or a maximum: Newton's method is drawn to either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Columns, Function, Status
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.spectrum import inertia
from calclab.numerics.stationary import Look, look, stationary
from calclab.topic import words
from calclab.topic.descent.forecast import Forecast
from calclab.topic.descent.runaway import RUNAWAY, runs_away

FAR = 1e-3  # times the gradient norm at the start: beyond it no gradient is a rounding error
DENSE = 200  # variables up to which the Hessian is formed to tell
NEAR = 1e-2  # times 1 + ‖x‖: a stationary point within it is where the walk ended


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

    Stationary: ‖g‖ < tol, with a stationary point near, or within rounding of one (`numerics.stationary`). Of
    a formula the proven gradient and eigenvalues decide.
    """
    if not bool(loss.isfinite() & gradient.isfinite().all() & x.isfinite().all()):
        if torch.equal(x, function.start):
            return Ending("nonfinite", "f or its gradient is not finite at the start: type another function.at=...")
        return Ending("nonfinite", f"it left the finite numbers; {smaller(forecast)}")
    if runaway:
        return Ending("diverged", f"it runs away; {bottom(loss, forecast) or smaller(forecast)}")
    size = gradient.norm()
    vanished = bool(size < tol)
    moving = Ending("moving", f"it is still moving: {further(size, contraction, tol)}")
    if not vanished and bool(size > FAR * scale):
        return moving
    if len(x) > DENSE:
        told = "the gradient has vanished; topic=hessian on the saved weights tells what it is"
        return Ending("stationary", told) if vanished else moving
    seen = look(function, x, gradient)
    if not bool(seen.λ.isfinite().all()):
        told = "the gradient has vanished where the second derivatives are not known"
        return Ending("stationary", told) if vanished else moving
    if not stationary(function, x, seen):
        if not vanished:
            return moving
        if bool(seen.gradient.norm() >= tol):
            true = words.number(seen.gradient.norm())
            return Ending("moving", f"the float program's gradient has vanished, and the proven one has norm {true}")
        if not near(function, x, seen):
            told = "the gradient is below tol, and no stationary point is near: type a smaller tol"
            return Ending("stationary", told)
    found = inertia(seen.λ, seen.ball)
    listed = f"Hessian eigenvalues {words.ends(seen.λ)}"
    away = bottom(loss, forecast) or UPHILL
    match found.word:
        case "minimum":
            return Ending("minimum", f"it is a minimum ({listed})")
        case "maximum":
            return Ending("maximum", f"it is a maximum ({listed}); {away}")
        case "saddle":
            ways = f"{found.negative} of {len(x)} directions go down"
            return Ending("saddle", f"it is a saddle ({listed}), {ways}; {away}")
    return Ending("flat", f"it is flat ({listed}): the second derivatives do not tell what the point is")


UPHILL = "start a little elsewhere (function.at=...), or take a rule that leaves saddles (optimizer=damped_newton)"


def near(function: Function, x: Tensor, seen: Look) -> bool:
    """Whether Newton's step is short and does what it promises: g falls by half at least, as towards t^k by
    (1 - 1/(k-1))^(k-1) < 1/2."""
    λ, V = seen.λ.to(x), seen.V.to(x)
    zero = 0.0 if seen.ball is not None else len(x) * torch.finfo(x.dtype).eps * λ.abs().max()
    move = V @ torch.where(λ.abs() > zero, -(seen.gradient.to(x) @ V) / λ, 0.0)
    if not bool(move.norm() <= NEAR * (1 + x.norm())):
        return False
    g = value_and_gradient(function.call, x + move)[1]
    return bool(g.norm() <= seen.gradient.norm() / 2)


def bottom(loss: Tensor, forecast: Forecast | None) -> str:
    """What to say where no rate would help: there is no lowest point to go to."""
    if forecast is not None and forecast.bottomless:
        return f"{forecast.fall}: it has no minimum and no stable lr"
    if float(loss) < -RUNAWAY:
        return f"f has fallen to {words.number(loss)} and has no lowest point on this way, whatever lr"
    return ""


def smaller(forecast: Forecast | None) -> str:
    """What to try where steps were too long."""
    if forecast is None or forecast.limit is None:
        return "try a smaller lr or another start"
    limit, half = words.number(forecast.limit), words.number(min(forecast.limit, forecast.lr) / 2)
    if forecast.quadratic:
        return f"the largest stable lr is {limit}: try lr={half}"
    if forecast.smallest < 0:
        return f"at the start f also curves downwards, and steps overshoot beyond lr={limit}: try lr={half}"
    return f"the largest stable lr at the start is {limit}: try lr={half}"


def further(size: Tensor, contraction: Tensor, tol: float) -> str:
    """How far it still has to go, if it goes on as in its last step."""
    rate, norm = float(contraction), float(size)
    if tol == 0:
        return "tol=0 never ends a run"
    if rate == 1:
        return "the gradient did not change in the last step, as on a straight slope"
    if not 0 < rate < 1:
        return "the gradient grew in the last step; take more steps, or a smaller lr"
    more = (math.log(tol) - math.log(norm)) / math.log(rate)
    if more > 1e7:
        return "the gradient hardly shrinks; take a larger lr, or another rule (optimizer=momentum, optimizer=lbfgs)"
    return f"at the pace of its last step about {int(more) + 1} steps more would do"
