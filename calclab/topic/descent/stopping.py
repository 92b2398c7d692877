"""When a walk stops: converged where ‖g‖ < tol, nonfinite where f or g is no number, diverged where it runs away, which
is where |f| or ‖g‖ passes 1e10 times its size at the start."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Columns, Function, Status
from calclab.numerics.operators import loss_and_gradient

RUNAWAY = 1e10


def stops(
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


def runs_away(loss: Tensor, norm: Tensor, scale: tuple[float | Tensor, float | Tensor]) -> Tensor:
    """Whether |f| or ‖g‖ (...) is beyond 1e10 times ``scale``. NaN is not: that is for who asks to tell."""
    return (loss.abs() > RUNAWAY * scale[0]) | (norm > RUNAWAY * scale[1])


def sizes(loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """What running away is measured by: |f| and ‖g‖ (...) at the start, at least 1; 1 where they are not finite."""
    return loss.abs().clamp(min=1).where(loss.isfinite(), 1.0), norm.clamp(min=1).where(norm.isfinite(), 1.0)


def at_start(function: Function) -> tuple[float, float]:
    """f and ‖g‖ at the function's start."""

    def find(function: Function) -> tuple[float, float]:
        value, g = loss_and_gradient(function, function.start)
        return float(value), float(g.norm())

    return function.once("loss and gradient norm at the start", find)


def scale_at_start(function: Function) -> tuple[float, float]:
    """Both sizes at the function's start."""
    f0, g0 = sizes(*(function.start.new_tensor(number) for number in at_start(function)))
    return float(f0), float(g0)
