"""An activation with its first two derivatives, entry by entry."""

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
