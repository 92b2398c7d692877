"""Rules that scale each coordinate by what its gradients were. Conventions are those of torch.optim.

``eps`` is added to the root, not under it. They are no linear maps, so that no theory of stability goes with them: near
a minimum their step does not shrink with the gradient, and it is the learning rate that must.

>>> x, g = torch.zeros(2), torch.tensor([1e-3, 1e3])  # the first step of Adam is lr, whatever the gradient's size
>>> point = Point(x, torch.zeros(()), g, None)
>>> adam = Adam(beta1=0.9, beta2=0.999, eps=1e-12)
>>> adam.update(point, adam.init(x), 0.1)[0]
tensor([-0.1000, -0.1000])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Point, State
from calclab.optimizer.rules import Number, fit
from calclab.optimizer.stability import Frozen


def mean(decay: Number, before: Tensor, new: Number | Tensor, x: Tensor) -> Tensor:
    """An exponential moving mean: β before + (1 - β) new."""
    return fit(decay, x) * before + fit(1 - decay, x) * new


@dataclass(frozen=True, kw_only=True)
class Adagrad(schema.optimizer.Adagrad):
    """Duchi, Hazan and Singer (2011): s <- s + g², x <- x - lr g/(√s + eps), s = ``initial`` before.

    torch.optim.Adagrad(initial_accumulator_value=initial).
    """

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return {"total": torch.zeros_like(x) + fit(self.initial, x)}

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        x, g = point.x, point.gradient
        total = state["total"] + g * g
        return g / (total.sqrt() + fit(self.eps, x)) * fit(-lr, x), {"total": total}

    def frozen(self, state: State, lr: float) -> Frozen | None:
        total = state["total"]
        return Frozen(lr, 1 / (total.sqrt() + float(self.eps))) if bool((total != float(self.initial)).any()) else None


@dataclass(frozen=True, kw_only=True)
class RMSprop(schema.optimizer.Rmsprop):
    """Tieleman and Hinton (2012); ``centred`` Graves (2013); torch.optim.RMSprop(alpha=decay, momentum, centered).

    s <- α s + (1 - α) g², u = g/(√s + eps), v <- μ v + u, x <- x - lr v: momentum adds up scaled gradients, undamped.
    Centred, s - m² with m <- α m + (1 - α) g stands for s: a variance, and 0 where rounding would make it negative
    (torch has NaN there).
    """

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        names = ("second", "velocity", "first") if self.centred else ("second", "velocity")
        return {name: torch.zeros_like(x) for name in names}

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        x, g = point.x, point.gradient
        new = {"second": mean(self.decay, state["second"], g * g, x)}
        spread = new["second"]
        if self.centred:
            new["first"] = mean(self.decay, state["first"], g, x)
            spread = (spread - new["first"] * new["first"]).clamp(min=0)
        scaled = g / (spread.sqrt() + fit(self.eps, x))
        new["velocity"] = fit(self.momentum, x) * state["velocity"] + scaled
        return new["velocity"] * fit(-lr, x), new

    def frozen(self, state: State, lr: float) -> Frozen | None:
        second, μ = state["second"], float(self.momentum)
        if not bool(second.any()):
            return None
        spread = (second - state["first"] ** 2).clamp(min=0) if self.centred else second
        return Frozen(lr, 1 / (spread.sqrt() + float(self.eps)), μ, 0.0, 1.0)


def zero_moments(x: Tensor) -> State:
    weight = x.new_zeros((*x.shape[:-1], 1))
    return {"first": torch.zeros_like(x), "second": torch.zeros_like(x), "weight1": weight, "weight2": weight}


def adam_direction(beta1: Number, beta2: Number, eps: Number, point: Point, state: State) -> tuple[Tensor, State]:
    """Adam's direction m̂/(√v̂ + eps), and the next state.

    The bias correction 1 - β^k is what the same moving mean makes of ones, and is computed so: m̂ is a weighted mean,
    divided by its weight.
    """
    x, g = point.x, point.gradient
    first, second = mean(beta1, state["first"], g, x), mean(beta2, state["second"], g * g, x)
    weight1, weight2 = mean(beta1, state["weight1"], 1.0, x), mean(beta2, state["weight2"], 1.0, x)
    direction = first / weight1 / ((second / weight2).sqrt() + fit(eps, x))
    return direction, {"first": first, "second": second, "weight1": weight1, "weight2": weight2}


def frozen_adam(beta1: Number, eps: Number, state: State, lr: float, decoupled: float = 0.0) -> Frozen | None:
    """What Adam's moments make of each entry, None before the first step."""
    if not bool(state["weight2"]):
        return None
    P = state["weight1"] * ((state["second"] / state["weight2"]).sqrt() + float(eps))
    return Frozen(lr, 1 / P, float(beta1), 0.0, 1 - float(beta1), decoupled=decoupled)


@dataclass(frozen=True, kw_only=True)
class Adam(schema.optimizer.Adam):
    """Adam (Kingma and Ba 2015, algorithm 1): x - lr m̂/(√v̂ + eps) with bias-corrected moments; torch.optim.Adam."""

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return zero_moments(x)

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        direction, new = adam_direction(self.beta1, self.beta2, self.eps, point, state)
        return direction * fit(-lr, point.x), new

    def frozen(self, state: State, lr: float) -> Frozen | None:
        return frozen_adam(self.beta1, self.eps, state, lr)


@dataclass(frozen=True, kw_only=True)
class AdamW(schema.optimizer.Adamw):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): x - lr (m̂/(√v̂ + eps) + w x); torch.optim.AdamW.

    The decay w pulls to the origin whatever the gradient says: it ends beside the minimum of f.
    """

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return zero_moments(x)

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        direction, new = adam_direction(self.beta1, self.beta2, self.eps, point, state)
        return (direction + fit(self.weight_decay, point.x) * point.x) * fit(-lr, point.x), new

    def frozen(self, state: State, lr: float) -> Frozen | None:
        return frozen_adam(self.beta1, self.eps, state, lr, lr * float(self.weight_decay))
