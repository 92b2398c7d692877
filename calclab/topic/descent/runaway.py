"""When a walk runs away: |f| or ‖g‖ passes 1e10 times its size at the start."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import Tensor

from calclab.core import Function
from calclab.numerics.operators import evaluate

RUNAWAY = 1e10


def sizes(loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """What running away is measured by: |f| and ‖g‖ (...) at the start, at least 1; 1 where they are not finite."""
    return loss.abs().clamp(min=1).where(loss.isfinite(), 1.0), norm.clamp(min=1).where(norm.isfinite(), 1.0)


def runs_away(loss: Tensor, norm: Tensor, scale: tuple[float | Tensor, float | Tensor]) -> Tensor:
    """Whether |f| or ‖g‖ (...) is beyond 1e10 times ``scale``. NaN is not: that is for who asks to tell."""
    return (loss.abs() > RUNAWAY * scale[0]) | (norm > RUNAWAY * scale[1])


def at_start(function: Function) -> tuple[float, float]:
    """f and ‖g‖ at the function's start, found once for all runs on it."""
    if function not in KNOWN:
        value, g = evaluate(function, function.start)
        KNOWN[function] = float(value), float(g.norm())
    return KNOWN[function]


def scale_at_start(function: Function) -> tuple[float, float]:
    """Both sizes at the function's start."""
    f0, g0 = sizes(*(function.start.new_tensor(number) for number in at_start(function)))
    return float(f0), float(g0)


KNOWN: WeakKeyDictionary[Function, tuple[float, float]] = WeakKeyDictionary()
