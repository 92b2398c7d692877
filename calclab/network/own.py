"""The lab's own copy of a module: nothing that is done to it reaches the one that it was made of.

What only wraps a module, to run it elsewhere or quicker, is taken off: DataParallel, torch.compile.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from calclab.errors import UserError, error_line

WRAPPED = {  # by the name of the class: whose import costs, or needs processes. Where the module is, what is said
    "OptimizedModule": ("_orig_mod", "torch.compile is left out: the module itself is looked at"),
    "DataParallel": ("module", "nn.DataParallel is left out: the module itself is looked at"),
    "DistributedDataParallel": ("module", "DistributedDataParallel is left out: the module itself is looked at"),
}


def own_copy(found: nn.Module, again: Callable[[], Any] | None = None) -> nn.Module:
    """A copy of ``found`` that shares no tensor with it. What cannot be copied is taken itself if ``again``, which made
    it, makes another at each call; else UserError."""
    if not (bound := bound_forward(found)):
        try:
            return copy.deepcopy(found, {id(t): t.detach().clone() for t in computed(found)})
        except Exception as error:
            reason = error_line(error)
    else:
        reason = f"the forward of {bound} was put on the module itself, and a copy would run on its weights"
    other = None if again is None else again()
    if isinstance(other, nn.Module) and not set(tensors(other)) & set(tensors(found)) and other is not found:
        return found
    raise UserError(
        f"the network cannot be copied ({reason}), and what is given is never changed. Let network._target_ name a "
        "class, or a function that makes another module at each call"
    )


def bound_forward(module: nn.Module) -> str:
    """The class of a part whose forward is an attribute of its own, which may be bound to the module it was put on."""
    parts = (part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule))
    return next((type(part).__name__ for part in parts if "forward" in vars(part) and kind(part) not in WRAPPED), "")


def computed(module: nn.Module) -> Iterator[Tensor]:
    """Tensors among the attributes that were computed from others: torch copies only such as nobody computed."""
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor) and not value.is_leaf)


def tensors(module: nn.Module) -> Iterator[int]:
    """The memory of all parameters and buffers."""
    for tensor in (*module.parameters(), *module.buffers()):
        if not nn.parameter.is_lazy(tensor) and tensor.numel():
            yield tensor.data_ptr()


def kind(module: nn.Module) -> str:
    return type(module).__name__


def unwrapped(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The module without what only wraps it, at any depth, and what was taken off."""
    said: list[str] = []

    def bare(part: nn.Module) -> nn.Module:
        while kind(part) in WRAPPED:
            place, sentence = WRAPPED[kind(part)]
            said.append(sentence)
            part = getattr(part, place)
        return part

    module = bare(module)
    for part in list(module.modules()):
        if getattr(part, "_compiled_call_impl", None) is not None:  # module.compile()
            part._compiled_call_impl = None
            said.append(WRAPPED["OptimizedModule"][1])
        for name, child in part.named_children():
            if kind(child) in WRAPPED:
                setattr(part, name, bare(child))
    return module, tuple(dict.fromkeys(said))
