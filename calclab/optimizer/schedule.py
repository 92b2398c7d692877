"""Schedules: the factor on the learning rate at step k = 0, 1, ..., of a run of ``steps`` steps.

The sequences are those of torch.optim.lr_scheduler, in closed form, so that a run can go on from any step. Where torch
would go on beyond the end of its course (a cosine comes up again), the factor here stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from calclab import schema


@dataclass(frozen=True, kw_only=True)
class Constant(schema.schedule.Constant):
    """1."""

    steps: int

    def __call__(self, k: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step(schema.schedule.Step):
    """factor^⌊k/every⌋; StepLR(step_size=every, gamma=factor)."""

    steps: int

    def __call__(self, k: int) -> float:
        return self.factor ** (k // self.every)


@dataclass(frozen=True, kw_only=True)
class Exponential(schema.schedule.Exponential):
    """factor^k; ExponentialLR(gamma=factor)."""

    steps: int

    def __call__(self, k: int) -> float:
        return self.factor**k


@dataclass(frozen=True, kw_only=True)
class Linear(schema.schedule.Linear):
    """From ``start`` to ``end`` in a straight line; LinearLR(start_factor, end_factor, total_iters=over)."""

    steps: int

    def __call__(self, k: int) -> float:
        return self.start + (self.end - self.start) * part(k, self.over or self.steps)


@dataclass(frozen=True, kw_only=True)
class Cosine(schema.schedule.Cosine):
    """floor + (1 - floor)(1 + cos πk/T)/2, T = ``over`` (Loshchilov and Hutter 2017, without restarts).

    CosineAnnealingLR(T_max=over, eta_min=floor lr).
    """

    steps: int

    def __call__(self, k: int) -> float:
        return cosine(part(k, self.over or self.steps), self.floor)


@dataclass(frozen=True, kw_only=True)
class Warmup(schema.schedule.Warmup):
    """From ``start`` to 1 in a straight line, then 1, or a cosine over the steps that are left.

    SequentialLR of LinearLR(start_factor=start, total_iters=over) and CosineAnnealingLR(T_max=steps - over).
    """

    steps: int

    def __call__(self, k: int) -> float:
        if k < self.over:
            return self.start + (1 - self.start) * part(k, self.over)
        return 1.0 if self.then == "constant" else cosine(part(k - self.over, self.steps - self.over), self.floor)


def part(k: int, over: int) -> float:
    """How much of its course a schedule has run, 0 to 1."""
    return min(k / over, 1.0) if over > 0 else 1.0


def cosine(part: float, floor: float) -> float:
    return floor + (1 - floor) * (1 + math.cos(math.pi * part)) / 2
