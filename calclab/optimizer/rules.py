"""Optimizers as pure rules: from a gradient and the rule's own state to the move x_{k+1} - x_k and the next state.

Conventions are those of torch.optim, so that its paths are reproduced: momentum adds up gradients undamped
(v <- μ v + g, x <- x - lr v), Nesterov looks ahead (x <- x - lr (g + μ v)), and Adam corrects its bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab import schema
from calclab.core import State


@dataclass(frozen=True, kw_only=True)
class GradientDescent(schema.optimizer.Gd):
    """x_{k+1} = x_k - lr g_k (Cauchy 1847)."""

    lr: float

    def init(self, x: Tensor) -> State:
        return {}

    def update(self, gradient: Tensor, state: State, x: Tensor) -> tuple[Tensor, State]:
        return gradient * -self.lr, state


@dataclass(frozen=True, kw_only=True)
class Momentum(schema.optimizer.Momentum):
    """Heavy ball (Polyak 1964): v_{k+1} = μ v_k + g_k, x_{k+1} = x_k - lr v_{k+1}; torch.optim.SGD(momentum=μ)."""

    lr: float

    def init(self, x: Tensor) -> State:
        return {"velocity": torch.zeros_like(x)}

    def update(self, gradient: Tensor, state: State, x: Tensor) -> tuple[Tensor, State]:
        velocity = self.momentum * state["velocity"] + gradient
        return velocity * -self.lr, {"velocity": velocity}


@dataclass(frozen=True, kw_only=True)
class Nesterov(schema.optimizer.Nesterov):
    """Nesterov's accelerated gradient in torch's form (Sutskever et al. 2013): x_{k+1} = x_k - lr (g_k + μ v_{k+1})."""

    lr: float

    def init(self, x: Tensor) -> State:
        return {"velocity": torch.zeros_like(x)}

    def update(self, gradient: Tensor, state: State, x: Tensor) -> tuple[Tensor, State]:
        velocity = self.momentum * state["velocity"] + gradient
        return (gradient + self.momentum * velocity) * -self.lr, {"velocity": velocity}


@dataclass(frozen=True, kw_only=True)
class Adam(schema.optimizer.Adam):
    """Adam (Kingma and Ba 2015, algorithm 1): m̂/(√v̂ + eps) with bias-corrected moments."""

    lr: float

    def init(self, x: Tensor) -> State:
        return {"first": torch.zeros_like(x), "second": torch.zeros_like(x), "step": x.new_zeros(())}

    def update(self, gradient: Tensor, state: State, x: Tensor) -> tuple[Tensor, State]:
        step = state["step"] + 1
        first = self.beta1 * state["first"] + (1 - self.beta1) * gradient
        second = self.beta2 * state["second"] + (1 - self.beta2) * gradient * gradient
        scale = (second / (1 - self.beta2**step)).sqrt() + self.eps
        move = first / (1 - self.beta1**step) / scale * -self.lr
        return move, {"first": first, "second": second, "step": step}
