"""A first look at a module with its data: do they fit, and is it a function at all?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.errors import UserError, error_line
from calclab.network.call import Which, chosen, gives, loss_in
from calclab.network.functional import Functional, RowLosses
from calclab.network.plain import Watch, Whole, compiles, eager, inside, plain
from calclab.network.stateless import State, kept, kept_alone
from calclab.network.weights import listed

SEVERAL = 4  # rows that are looked at one by one and together


class LossAloneError(UserError):
    """A module gives one number for several rows: it may be their loss."""


@dataclass(frozen=True)
class Probed:
    """What a first call of a module showed. ``shape`` is that of a row's outputs, ``changed`` names the buffers and
    attributes that were others afterwards, ``drops`` says whether the outputs of a single row lack the axis of rows.
    ``taken`` says what of the several things it gives is looked at, and ``loss`` whether one of them is its loss."""

    shape: torch.Size
    fused: bool
    writes: bool
    drops: bool
    checkpoints: bool
    changed: tuple[str, ...]
    taken: str
    loss: bool


def probe(module: nn.Module, data: Data, dtype: torch.dtype, output: Which = None) -> Probed:
    """A first look at the lab's own module, which takes its sizes from it if it is lazy; UserError where module and
    data do not fit."""
    inputs, shape = data.inputs[:2].clone(), tuple(data.inputs.shape[1:])
    hint = f"A row of {data.name} has the shape {shape}, and there are {len(data.classes)} outputs to give"
    try:
        with torch.no_grad(), Watch() as watch, Whole() as whole:
            if any(nn.parameter.is_lazy(tensor) for tensor in itertools.chain(module.parameters(), module.buffers())):
                with kept(module):
                    module(inputs.clone())  # a lazy module takes its sizes from the first rows it sees
            versions = {name: p._version for name, p in module.named_parameters()}
            state = State(module)
            state.lend()
            try:
                result = module(inputs)
                changed = state.changed()
            finally:
                state.restore()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the network does not take this data: {error_line(error)}. {hint}") from error
    if written := [name for name, p in module.named_parameters() if p._version != versions[name]]:
        raise UserError(
            f"the network writes over its own weights when it is called ({listed(written)}; nn.Embedding with max_norm "
            "does), and is no function of them. Leave max_norm out, or write to copies"
        )
    if isinstance(result, Tensor) and result.ndim == 0 and result.is_floating_point():
        raise LossAloneError(f"{len(inputs)} rows give one number, and outputs for each row are needed. {hint}")
    whole_result, (result, place) = result, chosen(result, output)
    if not isinstance(result, Tensor):
        raise UserError(
            f"the network gives a {type(result).__name__}, and one tensor (rows, outputs) is needed. {hint}"
        )
    taken = (
        "" if result is whole_result else f"of the {type(whole_result).__name__} that it gives, {place} is looked at"
    )
    taken += " (output= takes another)" if taken and output is None else ""
    if taken or (result.is_floating_point() and result.dtype != dtype):
        gives(module, output, dtype)
    if result.ndim == 0 or len(result) != len(inputs) or not result.is_floating_point() or result.numel() == 0:
        found = f"{tuple(result.shape)} of {result.dtype}"
        raise UserError(f"{len(inputs)} rows give {found}, and {len(inputs)} rows of numbers are needed. {hint}")
    row = result.shape[1:]
    own_loss = loss_in(whole_result) is not None or (
        bool(taken) and hasattr(whole_result, "loss") and data.targets.numel() > 0
    )
    own_loss = own_loss or isinstance(module, RowLosses) or (isinstance(module, Functional) and module.loss)
    writes = inputs._version > 0 or inputs.requires_grad  # to differentiate by it is to mark it
    dropped = drops(module, data, row)
    return Probed(row, watch.fused, writes, dropped, whole.met, tuple(changed), taken, own_loss)


def drops(module: nn.Module, data: Data, row: torch.Size) -> bool:
    """Whether a single row gives its outputs without an axis of rows, as a forward that ends in squeeze does."""
    try:
        with torch.no_grad(), kept(module):
            result = module(data.inputs[:1].clone())
    except Exception:  # of what takes no row by itself
        return False
    return isinstance(result, Tensor) and result.shape != (1, *row) and result.numel() == math.prod(row)


def adapted(module: nn.Module, seen: Probed) -> None:
    """From now on ``module`` is a function of its parameters and input, with derivatives of all orders, whatever it
    does while it runs: it writes to copies, keeps what it computes, and gives an axis of rows."""
    needed: list[tuple[bool, Callable[[nn.Module], AbstractContextManager[Any]]]] = [
        (seen.fused, lambda _: plain()),
        (seen.checkpoints, lambda _: Whole()),
        (compiles(module), lambda _: eager()),
        (bool(seen.changed), kept),
    ]
    contexts = [context for wanted, context in needed if wanted]
    if not (contexts or seen.writes or seen.drops):
        return
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            "the network is TorchScript, and writes over its input, or gives a single row no axis of its own. Give the "
            "module that it was made of"
        )
    for context in contexts:
        inside(module, context)
    for name in dict.fromkeys(name.rpartition(".")[0] for name in seen.changed):
        if name:
            inside(module.get_submodule(name), kept_alone)
    if seen.writes:
        module.register_forward_pre_hook(copies, with_kwargs=True)  # of each input by itself, if there are several
    if seen.drops:
        module.register_forward_hook(partial(with_rows, seen.shape))


def told_of(name: str, seen: Probed) -> list[str]:
    """Notes on what was done to the module."""
    said = []
    if seen.taken:
        said.append(f"{name}: {seen.taken}")
    if seen.changed:
        said.append(
            f"a call of {name} changes {listed(list(seen.changed))}: every look at it finds what was handed over, and "
            "leaves it so"
        )
    if seen.checkpoints:
        said.append(f"{name} computes parts again on the way back (checkpoint): here they are kept, in more memory")
    return said


def copies(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    def copied(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else value

    return tuple(map(copied, args)), {name: copied(value) for name, value in kwargs.items()}


def with_rows(row: torch.Size, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.reshape(-1, *row)


def padding(module: nn.Module) -> dict[str, int]:
    """The row of padding in the table of an embedding that can be learned, by the table's name."""
    names = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding) and part.padding_idx is not None]
    return {names[id(part.weight)]: int(part.padding_idx or 0) for part in tables if id(part.weight) in names}


def told_of_padding(module: nn.Module, inputs: Tensor) -> list[str]:
    """A note on the rows of padding that some of the inputs ask for."""
    return [
        f"{name}[{row}], the row of padding (padding_idx={row}), has no derivative by design: it is held fixed"
        for name, row in padding(module).items()
        if not inputs.is_meta and bool((inputs == row).any())
    ]


def name_outputs(data: Data, outputs: int) -> tuple[str, ...]:
    if outputs == len(data.classes):
        return data.classes
    if outputs == 1 and data.classification and len(data.classes) == 2:
        return (data.classes[1],)
    return tuple(f"output.{i}" for i in range(outputs))


def mixes(evaluate: Callable[[Tensor], Tensor], data: Data) -> bool:
    """Whether the outputs of a row depend on the other rows, as under batch statistics; a few rows tell."""
    inputs = data.some(SEVERAL).inputs
    if len(inputs) < 2:
        return False
    with torch.no_grad():
        try:
            alone = torch.cat([evaluate(inputs[i : i + 1]) for i in range(len(inputs))])
            among = evaluate(inputs)
        except (ValueError, RuntimeError):
            return True
    return not torch.allclose(alone, among, rtol=1e-4, atol=1e-6, equal_nan=True)


def check(name: str, module: nn.Module, evaluate: Callable[[Tensor], Tensor], data: Data) -> tuple[str, ...]:
    """Notes on what is unusual; UserError where the network is no function of its parameters and input."""
    inputs = data.inputs[:2]
    if inputs.is_meta:
        return ()
    notes = []
    with torch.no_grad():
        first, second = evaluate(inputs), evaluate(inputs)
        if not torch.equal(first.nan_to_num(), second.nan_to_num()):
            raise UserError(
                f"{name} is random: two calls on the same rows differ. Draw nothing in eval mode: "
                "use nn.Dropout, or pass training=self.training to functional.dropout"
            )
    if mixes(evaluate, data):
        notes.append(f"{name} mixes rows (batch statistics?): the outputs for one row depend on the others")
    if not bool(first.isfinite().all()):
        notes.append(f"{name} gives outputs that are not finite on the first rows")
    if frozen := sum(p.numel() for p in module.parameters() if not p.requires_grad):
        notes.append(f"{frozen} frozen parameters are held fixed")
    return tuple(notes)
