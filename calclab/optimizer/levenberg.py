"""Levenberg's damping (1944): λ grows until the step s(λ) goes downhill, and shrinks while it does so at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from calclab.core import Point
from calclab.optimizer.line_search import level, value_of

C1 = 1e-4  # the least part of the decrease promised by the slope
FACTOR = 4.0
TRIALS = 40
LEAST = 1e-12  # λ is kept above


def search(point: Point, step: Callable[[Tensor], Tensor], damping: Tensor) -> tuple[Tensor, Tensor, int]:
    """The move, λ for the next step, and how many evaluations it took besides the walk's own.

    ``step`` takes λ () to s (n,); for λ to infinity it goes along -g. A move that makes f fall by less than C1 of what
    its slope promises is not taken; after TRIALS of them the point stays where it is.
    """
    f, slack = float(point.loss), level(float(point.loss), point.x)
    for trial in range(TRIALS):
        s = step(damping)
        if value_of(point.function, point.x + s) <= f + C1 * float(s @ point.gradient) + slack:
            return s, (damping / FACTOR).clamp(min=LEAST) if trial == 0 else damping, trial
        damping = damping * FACTOR
    return torch.zeros_like(point.x), damping, TRIALS
