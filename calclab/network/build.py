"""From a module, or what makes one, to the lab's own: a copy that shares no tensor with it, seeded, in eval mode, in
one dtype. Nothing that is done to it reaches the one that it was made of.

What only wraps a module, to run it elsewhere or quicker, is taken off: DataParallel, torch.compile.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.errors import UserError, error_line
from calclab.network.plain import make_recurrent_plain

Builder = nn.Module | Callable[..., nn.Module]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws of the block come from ``seed``; afterwards torch's random state is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def build(
    builder: Builder, data: Data, *, dtype: torch.dtype, device: torch.device | str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The lab's own module in eval mode, and notes on what was taken off it; what is given is copied and left alone.

    What makes a module gets ``shape`` and ``outputs`` if it has parameters of these names. The weights are drawn in
    torch's default dtype whatever ``dtype`` is, so that runs in float32 and float64 start at the same place.
    """
    given = isinstance(builder, nn.Module)
    try:
        made = builder if given else construct(builder, data)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the network could not be made: {error_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"network._target_ gives a {type(made).__name__}, and a torch.nn.Module is needed. "
            "Type for example network._target_=my.module.Net, with Net a subclass of torch.nn.Module"
        )
    if any(p.is_complex() for p in made.parameters()):
        raise UserError("the network has complex parameters, and derivatives here are by real ones")
    module, notes = unwrapped(own_copy(made, None if given else lambda: construct(builder, data)))
    module = module.to(device=device, dtype=dtype).eval()
    make_recurrent_plain(module)
    take_whole_numbers(module)
    return module, notes


def take_whole_numbers(module: nn.Module) -> None:
    """From now on embeddings of ``module`` take whole numbers of any dtype: data are numbers of one dtype, and a row
    may hold tokens or categories beside what is measured."""
    for part in module.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.register_forward_pre_hook(whole_numbers)
            part.sparse = False  # which says how a gradient is held, not what it is


def whole_numbers(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    first = args[0] if args else None
    return (first.long(), *args[1:]) if isinstance(first, Tensor) and first.is_floating_point() else args


def construct(builder: Callable[..., Any], data: Data) -> Any:
    """Call ``builder`` with what it asks for; UserError for knobs that it does not have or misses."""
    function = builder.func if isinstance(builder, functools.partial) else builder
    placed, given = (builder.args, builder.keywords) if isinstance(builder, functools.partial) else ((), {})
    known = {"shape": tuple(data.inputs.shape[1:]), "outputs": max(1, len(data.classes))}
    parameters = inspect.signature(function).parameters
    wanted = {name: value for name, value in known.items() if name in parameters and name not in given}
    try:
        inspect.signature(function).bind(*placed, **given, **wanted)
    except TypeError as error:
        own = [
            f"network.{name}"
            for name, entry in parameters.items()
            if name not in known and entry.kind in (entry.POSITIONAL_OR_KEYWORD, entry.KEYWORD_ONLY)
        ]
        name = getattr(function, "__name__", "the network")
        raise UserError(f"{name}: {error}. Its knobs are {', '.join(own) or 'none'}") from error
    return builder(**wanted)


def frozen_statistics(module: nn.Module) -> str:
    """A note where batch normalisation stands at statistics that were never learned; empty where there is none."""
    fresh = 0
    for layer in module.modules():
        mean, variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
        if isinstance(mean, Tensor) and isinstance(variance, Tensor) and not mean.is_meta:
            fresh += bool((mean == 0).all() & (variance == 1).all())
    if not fresh:
        return ""
    return (
        f"batch normalisation ({fresh} layers) keeps its first statistics, mean 0 and variance 1, and normalises "
        "nothing: they are no parameters, and descent does not learn them. Group normalisation needs none"
    )


def brief(error: BaseException) -> str:
    """The first line of a message."""
    return (str(error).strip() or "no message").splitlines()[0]


# --- the copy ---------------------------------------------------------------------------------------------------------


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
