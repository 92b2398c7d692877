"""What autograd keeps of a call: it decides how many points or directions share a pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def saved_by(call: Callable[[Tensor], object], x: Tensor) -> int:
    """The bytes that autograd keeps of a call."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call(x.detach().clone().requires_grad_())
    return total
