"""Full-batch Adam, to look at a network that has learned something."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RATE, DECAY1, DECAY2, SMALL = 0.01, 0.9, 0.999, 1e-8  # all but the rate as proposed in the paper


def adam(call: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    """The point after ``steps`` steps of Adam (Kingma and Ba 2015, Algorithm 1) from x (n,) on a scalar function.

    torch.optim is not used: its first step imports the compiler, which takes seconds.
    """
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(1, steps + 1):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(call(x), x)
        m = DECAY1 * m + (1 - DECAY1) * g
        v = DECAY2 * v + (1 - DECAY2) * g.square()
        x = x - RATE * (m / (1 - DECAY1**k)) / ((v / (1 - DECAY2**k)).sqrt() + SMALL)
    return x.detach()
