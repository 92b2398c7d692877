"""What recomputes or compiles within a module is done plainly while the lab looks at it.

A part that is computed again on the way back (torch.utils.checkpoint) would be computed with the weights that the
module has then, not those it was called with, and with ``use_reentrant=True`` has no second derivative; nor has what
torch.compile made. Both give the values of the plain program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

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
