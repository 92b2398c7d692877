"""How a module of the user's is called as the lab calls it: one tensor of rows in, one tensor of outputs out.

A model may take several inputs, by name or in order, and give a tuple, a dict, a dataclass or a Hugging Face output.
Hooks on the lab's copy unpack the one and take the outputs from the other. A model that computes its own loss is asked
for that (`of_loss`) by the same call, with the targets beside the inputs where its forward takes them.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from calclab.core import Data, Layout
from calclab.core.layout import TARGETS
from calclab.errors import UserError, error_line

Which = str | int | Callable[[Any], Tensor] | None  # of the things a model gives: by name, by place, by a function
NAMED = ("logits",)  # what is looked at of several things, if it is there

_of_loss: ContextVar[bool] = ContextVar("of_loss", default=False)


@contextmanager
def of_loss() -> Iterator[None]:
    """Within the block a model that computes its own loss gives that, ()."""
    token = _of_loss.set(True)
    try:
        yield
    finally:
        _of_loss.reset(token)


def asked_for_loss() -> bool:
    return _of_loss.get()


# --- what goes in -----------------------------------------------------------------------------------------------------


def takes(module: nn.Module, layout: Layout | None) -> RemovableHandle:
    """From now on ``module`` takes rows (B, d), in which its inputs lie side by side, and then, if any, the targets."""
    return module.register_forward_pre_hook(partial(arranged, layout), with_kwargs=True)


def with_targets(data: Data, first: str, name: str) -> Data:
    """The same rows with the targets, by their ``name``, among the inputs, for what takes whole batches. An input that
    has no name is ``first``, or where that is empty, all are in their order."""
    if not data.targets.numel():
        return data
    parts: dict[str, Tensor] = {first: data.inputs} if data.layout is None else data.layout.unpack(data.inputs)
    targets = data.targets.squeeze(1) if data.targets.shape[1:] == (1,) else data.targets
    named = bool(first) if data.layout is None else data.layout.named
    batch: Any = {**parts, name: targets} if named else [*parts.values(), targets]
    layout = Layout.of(batch)
    packed = layout.pack(batch, data.inputs.dtype if data.inputs.is_floating_point() else torch.float64)
    return replace(
        data,
        inputs=packed,
        targets=targets.new_zeros(len(targets), 0, dtype=packed.dtype),
        features=layout.features,
        layout=layout,
        classification=False,
        held_out=None if data.held_out is None else with_targets(data.held_out, first, name),
    )


def arranged(layout: Layout | None, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    inputs, *targets = args
    placed, named = ((inputs,), kwargs) if layout is None else layout.arguments(inputs)
    if targets and (name := target_name(module)):
        return placed, {**named, name: targets[0]}
    return (*placed, *targets), named


def target_name(module: nn.Module) -> str:
    """What the forward of ``module`` calls the targets; empty where it has no such argument."""
    known = argument_names(module)
    return next((name for name in TARGETS if name in known), "")


def argument_names(module: nn.Module) -> list[str]:
    """What the forward of ``module`` calls its arguments; of TorchScript its schema says it."""
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        schema = getattr(module.forward, "schema", None)
        return [] if schema is None else [argument.name for argument in schema.arguments[1:]]


# --- what comes out ---------------------------------------------------------------------------------------------------


def gives(module: nn.Module, which: Which, dtype: torch.dtype) -> None:
    """From now on ``module`` gives one tensor, in ``dtype``: its outputs, or its loss where that is asked for."""
    module.register_forward_hook(partial(given, which, dtype))


def given(which: Which, dtype: torch.dtype, _: nn.Module, __: Any, output: Any) -> Tensor:
    found = loss_in(output) if asked_for_loss() else chosen(output, which)[0]
    if not isinstance(found, Tensor):
        raise UserError(f"the model gives a {type(output).__name__}, and no {'loss' if asked_for_loss() else 'tensor'}")
    return found.to(dtype) if found.is_floating_point() and found.dtype != dtype else found


def loss_in(output: Any) -> Tensor | None:
    """The loss () that a model gives: an entry ``loss``, what it gives or gives first, if that is one number, or the
    only number () among several things."""
    found = member(output, "loss")
    if found is None:
        several = output if isinstance(output, tuple | list) else [output]
        single = [entry for entry in several if isinstance(entry, Tensor) and entry.ndim == 0]
        found = single[0] if len(single) == 1 else several[0] if several else None
    alone = isinstance(found, Tensor) and found.is_floating_point() and found.numel() == 1
    return found.reshape(()) if alone else None


def chosen(output: Any, which: Which) -> tuple[Any, str]:
    """What of ``output`` is looked at, and its name there: ``which``, else its logits, else its first tensor of
    numbers. UserError where it holds nothing of the kind."""
    if callable(which):
        try:
            return which(output), "what the function takes of it"
        except Exception as error:
            kind = type(output).__name__
            raise UserError(f"output: the function does not take a {kind}: {error_line(error)}") from error
    if which is not None:
        found = member(output, which)
        if found is None:
            known = ", ".join(str(name) for name, _ in members(output)) or "no entries"
            raise UserError(f"output={which}: the model gives a {type(output).__name__} with {known}")
        return found, str(which)
    if isinstance(output, Tensor):
        return output, ""
    for name in NAMED:
        if isinstance(found := member(output, name), Tensor):
            return found, name
    return next(tensors(output), (output, ""))


def tensors(output: Any, name: str = "") -> Iterator[tuple[Tensor, str]]:
    """The tensors of numbers within, one row each at least, with the path to each."""
    for key, value in members(output):
        path = f"{name}[{key}]" if isinstance(key, int) else f"{name}.{key}".lstrip(".")
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
            yield value, path
        elif not isinstance(value, Tensor):
            yield from tensors(value, path)


def members(output: Any) -> list[tuple[str | int, Any]]:
    """The entries of what a model gives, by name or place."""
    if isinstance(output, Mapping):
        return list(output.items())
    if dataclasses.is_dataclass(output):
        return [(entry.name, getattr(output, entry.name)) for entry in dataclasses.fields(output)]
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return list(zip(output._fields, output, strict=True))
    return list(enumerate(output)) if isinstance(output, tuple | list) else []


def member(output: Any, which: str | int) -> Any:
    """One entry of what a model gives; None where it has none of this name or place."""
    known = members(output)
    if isinstance(which, int):
        return known[which][1] if -len(known) <= which < len(known) else None
    if which.lstrip("-").isdigit() and which not in dict(known):  # as typed in a shell
        return member(output, int(which))
    return dict(known).get(which)
