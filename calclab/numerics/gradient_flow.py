"""Gradient flow, and how far one step of gradient descent is from it: backward error analysis of x - ηg.

With g = ∇f, H = ∇²f and T[g, g] the third derivative along g twice, a step x - ηg is at the distance

    η²/2 ‖Hg‖ + O(η³)                    from the flow of f,                              x' = -∇f
    η³ ‖H²g/3 + T[g, g]/12‖ + O(η⁴)      from that of f + η/4 ‖∇f‖², the modified loss,   x' = -(∇f + η/2 Hg)

after the time η: the second is what gradient descent follows (Barrett and Dherin, arXiv 2009.11162, theorem 3.1 and
appendix A; Hairer, Lubich and Wanner 2006, chapter IX). The constants come of expanding both flows to third order:
φ_η(x) = x - ηg + η²/2 Hg - η³/6 (H²g + T[g, g]) + ..., and the same with g + η/2 Hg for g. f must have three
derivatives along the way; on a quadratic T = 0.

>>> f = lambda x: 0.5 * (x[0] ** 2 + 4 * x[1] ** 2)
>>> x = torch.tensor([1.0, 1.0], dtype=torch.float64)
>>> there = torch.tensor([-1.0, -4.0], dtype=torch.float64).exp()  # x e^{-λt}
>>> bool((flow(f, x, 1.0) - there).abs().max() < 1e-7)
True
>>> gap = step_gap(f, x, 1e-2)
>>> round(float(gap.flow / gap.flow_theory), 1), round(float(gap.modified / gap.modified_theory), 1)
(1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.numerics.operators import Call, value_and_gradient

STAGES = 64  # steps of Runge and Kutta's method in the time asked for


class StepGap(NamedTuple):
    """How far a step of gradient descent is from the two flows, (), and the leading terms that theory gives."""

    flow: Tensor
    modified: Tensor
    flow_theory: Tensor
    modified_theory: Tensor


def flow(call: Call, x: Tensor, time: float, rate: float = 0.0, stages: int = STAGES) -> Tensor:
    """x(time) (n,) of x' = -∇(f + rate/4 ‖∇f‖²) from x (n,), by ``stages`` steps of the classical fourth-order method;
    what it errs by is O(time⁵ / stages⁴)."""
    h = time / stages

    def field(y: Tensor) -> Tensor:
        return -modified_gradient(call, y, rate)

    for _ in range(stages):
        a = field(x)
        b = field(x + h / 2 * a)
        c = field(x + h / 2 * b)
        d = field(x + h * c)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return x


def modified_gradient(call: Call, x: Tensor, rate: float) -> Tensor:
    """∇(f + rate/4 ‖∇f‖²) = g + rate/2 Hg, (n,); without a rate ∇f alone, and no second derivative is asked for."""
    if not rate:
        return value_and_gradient(call, x)[1]
    g, Hg = gradient_and_product(call, x)
    return g + rate / 2 * Hg


def gradient_and_product(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """g (n,) and Hg (n,): a backward pass through ½‖∇f‖²."""
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(call(leaf), leaf, create_graph=True)
    if not g.requires_grad:  # of a linear function
        return g.detach(), torch.zeros_like(g)
    (Hg,) = torch.autograd.grad(g.square().sum() / 2, leaf)
    return g.detach(), Hg


def along(field: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """The derivative of a vector ``field`` (n,) at x along ``direction``, by reverse mode twice."""
    leaf = x.detach().requires_grad_()
    v = field(leaf)
    u = torch.zeros_like(v, requires_grad=True)
    (pulled,) = torch.autograd.grad(v, leaf, u, create_graph=True, allow_unused=True, materialize_grads=True)
    (found,) = torch.autograd.grad(pulled, u, direction, allow_unused=True, materialize_grads=True)
    return found


def step_gap(call: Call, x: Tensor, rate: float) -> StepGap:
    """The gaps after one step of ``rate`` from x (n,), and their leading terms."""
    g, Hg = gradient_and_product(call, x)
    step = x - rate * g

    def half_square(y: Tensor) -> Tensor:
        """H(y) g(y), with its graph."""
        (slope,) = torch.autograd.grad(call(y), y, create_graph=True)
        if not slope.requires_grad:
            return torch.zeros_like(y) * y
        (found,) = torch.autograd.grad(slope.square().sum() / 2, y, create_graph=True)
        return found if found.requires_grad else found + 0 * y

    third = along(half_square, x, g)  # (Hg)'[g] = T[g, g] + H²g
    HHg = along(lambda y: torch.autograd.grad(call(y), y, create_graph=True)[0] + 0 * y, x, Hg)
    curved = third - HHg
    return StepGap(
        (step - flow(call, x, rate)).norm(),
        (step - flow(call, x, rate, rate)).norm(),
        rate**2 / 2 * Hg.norm(),
        rate**3 * (HHg / 3 + curved / 12).norm(),
    )
