"""Attention and recurrent layers of torch's own that can be differentiated as often as asked.

The fused kernels have no second derivatives, and the fast path of nn.MultiheadAttention and nn.TransformerEncoder in
eval mode knows neither forward mode nor vmap; cuDNN's recurrent layers have not even a first one in eval mode. While
such a module runs, plain arithmetic takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
def plain() -> Iterator[None]:
    """Attention by plain arithmetic inside the block; the switches are put back afterwards."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def make_recurrent_plain(module: nn.Module) -> None:
    """From now on every nn.RNN, nn.LSTM and nn.GRU in ``module`` runs without cuDNN."""
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            inside(part, without_cudnn)


def without_cudnn(_: nn.Module) -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=False)


def inside(module: nn.Module, context: Callable[[nn.Module], AbstractContextManager[Any]]) -> None:
    """From now on every call of ``module`` (and of copies of it) runs inside the context, which is told the module."""
    open_calls: list[ExitStack] = []

    def enter(called: nn.Module, _: Any) -> None:
        stack = ExitStack()
        stack.enter_context(context(called))
        open_calls.append(stack)

    def leave(*_: Any) -> None:
        open_calls.pop().close()

    module.register_forward_pre_hook(enter, prepend=True)
    module.register_forward_hook(leave, always_call=True)
