"""Attention of torch's own that can be differentiated as often as asked.

The fused kernels have no second derivatives, and the fast path of nn.MultiheadAttention and nn.TransformerEncoder in
eval mode knows neither forward mode nor vmap. While such a module runs, plain arithmetic takes their place.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FUSED = {functional.scaled_dot_product_attention, functional.multi_head_attention_forward}


class Watch(TorchFunctionMode):
    """Sees whether fused attention is called."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fused = self.fused or func in FUSED
        return func(*args, **(kwargs or {}))


@contextmanager
def plain() -> Any:
    """Attention by plain arithmetic inside the block; the switches are put back afterwards."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def make_plain(module: nn.Module) -> None:
    """From now on every call of ``module`` runs inside ``plain``."""
    open_calls: list[ExitStack] = []

    def enter(*_: Any) -> None:
        stack = ExitStack()
        stack.enter_context(plain())
        open_calls.append(stack)

    def leave(*_: Any) -> None:
        open_calls.pop().close()

    module.register_forward_pre_hook(enter, prepend=True)
    module.register_forward_hook(leave, always_call=True)
