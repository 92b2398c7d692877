"""What a module fuses, recomputes or compiles is done by plain arithmetic while the lab looks at it.

Fused attention has no second derivatives, and the fast path of nn.MultiheadAttention and nn.TransformerEncoder in eval
mode knows neither forward mode nor vmap; cuDNN's recurrent layers have not even a first one in eval mode. A part that
is computed again on the way back (torch.utils.checkpoint) would be computed with the weights that the module has then,
not those it was called with, and with ``use_reentrant=True`` has no second derivative; nor has what torch.compile made.
All give the values of the plain program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# --- attention and recurrent layers -----------------------------------------------------------------------------------


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


# --- checkpoints and compiled parts -----------------------------------------------------------------------------------


WITHIN = ("CheckpointFunction", "_checkpoint_without_reentrant_generator")  # what torch.utils.checkpoint calls


class Whole:
    """``with Whole() as whole:`` checkpoints keep all they compute; afterwards ``whole.met`` says if there was one."""

    def __init__(self) -> None:
        self.met = False

    def __enter__(self) -> Whole:
        self.module = sys.modules.get("torch.utils.checkpoint")
        self.before = {name: getattr(self.module, name) for name in WITHIN if hasattr(self.module, name)}
        if len(self.before) == len(WITHIN):
            setattr(self.module, WITHIN[0], Straight(self))
            setattr(self.module, WITHIN[1], self.nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            setattr(self.module, name, value)

    def nothing(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Nothing before the part runs, and nothing after."""
        self.met = True
        yield


class Straight:
    """In the place of the autograd function that forgets what a part computes."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole

    def apply(self, function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        self.whole.met = True
        return function(*args)


@contextmanager
def eager() -> Iterator[None]:
    """Within the block torch.compile runs what it was given, uncompiled."""
    with torch.compiler.set_stance("force_eager"):
        yield


def compiles(module: nn.Module) -> bool:
    """Whether a function that torch.compile made is among the methods of a part, or the globals that these name."""
    if "torch._dynamo" not in sys.modules:
        return False
    for kind in {type(part) for part in module.modules()}:
        if kind.__module__.startswith("torch.nn.modules."):
            continue
        for name in (name for base in kind.__mro__ if base is not nn.Module for name in vars(base)):
            method = getattr(kind, name, None)
            if compiled(method):
                return True
            code, known = getattr(method, "__code__", None), getattr(method, "__globals__", {})
            if code is not None and any(compiled(known.get(word)) for word in code.co_names):
                return True
    return any(compiled(value) for part in module.modules() for value in vars(part).values())


def compiled(value: Any) -> bool:
    return callable(value) and hasattr(value, "_torchdynamo_orig_callable")
