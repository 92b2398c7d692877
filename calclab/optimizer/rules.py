"""Rules with one learning rate for all coordinates: gradient descent and its two kinds of momentum.

A rule is a pure pair, from a point and its own state to the move x_{k+1} - x_k and the next state. Conventions are
those of torch.optim, so that its paths are reproduced: momentum adds up gradients undamped (v <- μ v + g, then
x <- x - lr v: the rate multiplies the whole velocity, so that changing it acts at once), and Nesterov looks ahead
(x <- x - lr (g + μ v)).

Rules that work entry by entry are marked ``entrywise``: points (..., n) with lr (..., 1), and knobs (..., 1), are so
many runs at once, each with the bits that it has alone. For that they are made of + - × ÷ √ only, each rounded once:
fused operations and powers round differently at the end of a vector than within.

>>> x = torch.tensor([[1.0], [1.0]])  # two runs of one variable, each at its rate
>>> point = Point(x, x, 2 * x, None)
>>> GradientDescent().update(point, {}, torch.tensor([[0.1], [0.5]]))[0].tolist()
[[-0.20000000298023224], [-1.0]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Point, State
from calclab.optimizer import theory
from calclab.optimizer.stability import Frozen
from calclab.optimizer.theory import Theory

Number = float | Tensor


def fit(number: Number, x: Tensor) -> Number:
    """A number as it is; one for each run of a batch, (..., 1), in the dtype and on the device of x."""
    return number.to(x) if isinstance(number, Tensor) else number


@dataclass(frozen=True, kw_only=True)
class GradientDescent(schema.optimizer.Gd):
    """x_{k+1} = x_k - lr g_k (Cauchy 1847); torch.optim.SGD."""

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return {}

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        return point.gradient * fit(-lr, point.x), state

    def theory(self, smallest: float, largest: float) -> Theory:
        return theory.gradient_descent(smallest, largest)

    def frozen(self, state: State, lr: float) -> Frozen:
        return Frozen(lr)


@dataclass(frozen=True, kw_only=True)
class Momentum(schema.optimizer.Momentum):
    """Heavy ball (Polyak 1964): v_{k+1} = μ v_k + g_k, x_{k+1} = x_k - lr v_{k+1}; torch.optim.SGD(momentum=μ).

    At a constant rate this is x_{k+1} = x_k - lr g_k + μ (x_k - x_{k-1}).
    """

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return {"velocity": torch.zeros_like(x)}

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        velocity = fit(self.momentum, point.x) * state["velocity"] + point.gradient
        return velocity * fit(-lr, point.x), {"velocity": velocity}

    def theory(self, smallest: float, largest: float) -> Theory:
        return theory.heavy_ball(smallest, largest, float(self.momentum))

    def frozen(self, state: State, lr: float) -> Frozen:
        return Frozen(lr, memory=float(self.momentum), direct=0.0, through=1.0)


@dataclass(frozen=True, kw_only=True)
class Nesterov(schema.optimizer.Nesterov):
    """Nesterov's accelerated gradient (1983) in the form of Sutskever et al. (2013), as torch has it.

    v_{k+1} = μ v_k + g_k, x_{k+1} = x_k - lr (g_k + μ v_{k+1}): x is the point that looked ahead, where the gradient
    is taken; torch.optim.SGD(momentum=μ, nesterov=True).
    """

    entrywise: ClassVar[bool] = True

    def init(self, x: Tensor) -> State:
        return {"velocity": torch.zeros_like(x)}

    def update(self, point: Point, state: State, lr: Number) -> tuple[Tensor, State]:
        momentum = fit(self.momentum, point.x)
        velocity = momentum * state["velocity"] + point.gradient
        return (point.gradient + momentum * velocity) * fit(-lr, point.x), {"velocity": velocity}

    def theory(self, smallest: float, largest: float) -> Theory:
        return theory.nesterov(smallest, largest, float(self.momentum))

    def frozen(self, state: State, lr: float) -> Frozen:
        return Frozen(lr, memory=float(self.momentum), direct=1.0, through=float(self.momentum))
