"""From a module, or what makes one, to the lab's own: a copy, seeded, in eval mode, in one dtype."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.errors import UserError, error_line
from calclab.network.attention import make_recurrent_plain
from calclab.network.own import own_copy, unwrapped

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
