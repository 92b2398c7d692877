"""What autograd keeps of a call: it decides how many points or directions share a pass.

Memory of a backward pass is what its forward pass saves, and passes side by side save side by side. It is measured, by
looking at every tensor that is saved, and depends on shapes alone: the same on every machine and in every run.

>>> saved_by(lambda x: x.exp().sum(), torch.zeros(100))  # exp keeps its result
400
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from calclab.core.mode import Mode


def saved_by(call: Callable[[Tensor], object], x: Tensor) -> int:
    """The bytes that autograd keeps of a call; of one with torch.func in it, which nobody may watch, of all that is
    computed."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor.detach()

    leaf = x.detach().clone().requires_grad_()
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            call(leaf)
    except RuntimeError:
        with torch.enable_grad(), Computed() as computed:
            call(leaf)
        return computed.bytes
    return total


class Computed(Mode):
    """Adds up the bytes of what is computed within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        made = found if isinstance(found, tuple) else (found,)
        self.bytes += sum(tensor.nbytes for tensor in made if isinstance(tensor, Tensor))
        return found
