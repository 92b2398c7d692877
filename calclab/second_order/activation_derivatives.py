"""An activation with its first two derivatives, entry by entry.

Second derivatives of a network meet an activation φ only through φ'(z) and φ''(z) at the points z that it sees; once
they are known, autograd need not go through φ again in every product. Of a piecewise linear φ the second is zero.

>>> y, first, second = twice(torch.tanh, torch.tensor([0.0, 1.0], dtype=torch.float64))
>>> torch.allclose(first, 1 - y**2), torch.allclose(second, -2 * y * (1 - y**2))
(True, True)
>>> twice(torch.relu, torch.tensor([-1.0, 2.0]))[1:]
(tensor([0., 1.]), tensor([0., 0.]))
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def twice(activation: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """y = φ(z), φ'(z) and φ''(z), all of the shape of z and as autograd has them, at kinks too; None for zeros."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        y = activation(leaf.clone())  # which may work in place
        if not y.requires_grad:
            return y, torch.zeros_like(z), None
        (first,) = torch.autograd.grad(y.sum(), leaf, create_graph=True)
        if not first.requires_grad:
            return y.detach(), first, None
        (second,) = torch.autograd.grad(first.sum(), leaf, allow_unused=True)
    return y.detach(), first.detach(), second
