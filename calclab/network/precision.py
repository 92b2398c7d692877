"""The type that a network computes in, where that is not the one of its parameters.

Some networks compute their norms or their softmax in float32 whatever they are given (Hugging Face's Llama and T5,
x-transformers). Then float64 numbers have seven digits: derivatives differ by way and by order of the sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core.mode import Mode


class Narrower(Mode):
    """Sees the smallest floating type to which something that depends on the parameters is rounded, and in which of
    the modules that are ``running`` (by name, the innermost last) it is first."""

    def __init__(self, running: list[str]) -> None:
        super().__init__()
        self.running = running
        self.found: tuple[torch.dtype, str] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in args if isinstance(x, Tensor) and x.is_floating_point() and x.requires_grad]
        if given and isinstance(result, Tensor) and result.is_floating_point():
            eps = torch.finfo(result.dtype).eps
            least = torch.finfo(self.found[0]).eps if self.found else min(torch.finfo(x.dtype).eps for x in given)
            if eps > least:
                self.found = (result.dtype, self.found[1] if self.found else self.running[-1])
        return result


Inner = tuple[torch.dtype, str]  # a smaller type, and the part in which it is first met


def told_of_precision(name: str, inner: Inner | None) -> list[str]:
    """A note on a network that computes in a smaller type than its own."""
    if inner is None:
        return []
    what = str(inner[0]).removeprefix("torch.")
    return [f"{name} computes in {what} inside, whatever it is given (first in {inner[1] or name}): no number has more "
            "digits than that"]  # fmt: skip


def inner_precision(module: nn.Module, call: Callable[[], Any]) -> Inner | None:
    """The type smaller than its own that ``module`` computes in while ``call`` calls it, and the name of the part where
    it first does; None where it keeps to its own."""
    running = [""]

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: running.append(name)

    def leave(*_: Any) -> None:
        running.pop()

    if isinstance(module, torch.jit.ScriptModule):
        return None
    hooks = []
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            hooks += [part.register_forward_pre_hook(enter(name)), part.register_forward_hook(leave, always_call=True)]
    try:
        with torch.enable_grad(), Narrower(running) as seen:
            call()
    except Exception:  # of what runs under no such mode
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return seen.found
