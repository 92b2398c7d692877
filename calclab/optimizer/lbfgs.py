"""L-BFGS: Newton's method with an inverse Hessian put together from the last steps.

The inverse Hessian H is asked to map the changes y of the gradient to the steps s that made them, H y = s, as the true
one does on a quadratic; BFGS takes the nearest such H, in a norm that makes it independent of units (Nocedal and
Wright, section 6.1). H itself is never formed: m pairs (s, y) give H q in 4 m n operations. Each kept pair needs
yᵀs > 0, so that H stays positive definite and -H g goes downhill.

>>> A = torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64))
>>> S = torch.eye(2, dtype=torch.float64)  # two steps on ½ xᵀAx, along its axes
>>> two_loops(S, S @ A, torch.tensor([1.0, 10.0], dtype=torch.float64))  # A⁻¹ q
tensor([1., 1.], dtype=torch.float64)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Point, State

LEAST = 1e-10  # of yᵀs, below which a step tells nothing of the curvature (torch's test)


@dataclass(frozen=True, kw_only=True)
class LBFGS(schema.optimizer.Lbfgs):
    """Limited-memory BFGS by the two-loop recursion (Nocedal 1980; Nocedal and Wright, algorithm 7.4).

    x_{k+1} = x_k - lr H_k g_k with H_k from the last ``history`` pairs s = x_{k+1} - x_k, y = g_{k+1} - g_k that have
    yᵀs > 1e-10, begun from (yᵀs / yᵀy) I of the last pair. The first step is cut to lr min(1, 1/‖g‖₁). This is
    torch.optim.LBFGS(max_iter=1, history_size=history) without its tolerances: one inner iteration a step. Its path can
    be very sensitive to rounding, so that sums are taken in torch's order, and s is the move where that was made as
    proposed; where a line search scaled it, s is the difference of the points.
    """

    def init(self, x: Tensor) -> State:
        return {"s": x.new_zeros(0, len(x)), "y": x.new_zeros(0, len(x))}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        x, g = point.x, point.gradient
        S, Y = state["s"], state["y"]
        if "x" in state:
            s = torch.where(state["next"] == x, state["move"], x - state["x"])
            y = g - state["gradient"]
            if bool(y.dot(s) > LEAST):
                S, Y = torch.cat([S, s[None]])[-self.history :], torch.cat([Y, y[None]])[-self.history :]
            d, t = two_loops(S, Y, -g), float(lr)
        else:
            d, t = -g, float((1 / g.abs().sum()).clamp(max=1.0)) * float(lr)
        move = x.add(d, alpha=t) - x
        return move, {"s": S, "y": Y, "x": x, "gradient": g, "move": d * t, "next": x + move}


def two_loops(S: Tensor, Y: Tensor, q: Tensor) -> Tensor:
    """H q (n,) by the steps S (m, n) and gradient differences Y (m, n), oldest first; q itself without any."""
    if len(S) == 0:
        return q
    pairs = [(s, y, 1.0 / y.dot(s)) for s, y in zip(S, Y, strict=True)]
    q, α = q.clone(), []
    for s, y, ρ in reversed(pairs):
        α.append(s.dot(q) * ρ)
        q = q.add(y, alpha=-float(α[-1]))
    r = q * (Y[-1].dot(S[-1]) / Y[-1].dot(Y[-1]))
    for (s, y, ρ), a in zip(pairs, reversed(α), strict=True):
        r = r.add(s, alpha=float(a - y.dot(r) * ρ))
    return r
