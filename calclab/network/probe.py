"""A first look at a module with its data: do they fit, and is it a function at all?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from calclab.core import Data
from calclab.errors import UserError
from calclab.network.attention import Watch
from calclab.network.build import brief

SEVERAL = 4  # rows that are looked at one by one and together


def probe(module: nn.Module, data: Data) -> tuple[int, bool, bool]:
    """How many outputs a row has, whether fused attention is called, and whether the module writes over its inputs;
    UserError where module and data do not fit.
    """
    inputs, shape = data.inputs[:2].clone(), tuple(data.inputs.shape[1:])
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers() if not nn.parameter.is_lazy(buffer)}
    hint = f"A row of {data.name} has the shape {shape}, and there are {len(data.classes)} outputs to give"
    try:
        with torch.no_grad(), Watch() as watch:
            if any(nn.parameter.is_lazy(tensor) for tensor in itertools.chain(module.parameters(), module.buffers())):
                module(inputs)  # a lazy module takes its sizes from the first rows it sees
            result = functional_call(module, buffers, (inputs,))
    except Exception as error:
        raise UserError(f"the network does not take this data: {brief(error)}. {hint}") from error
    if not isinstance(result, Tensor):
        raise UserError(
            f"the network gives a {type(result).__name__}, and one tensor (rows, outputs) is needed. {hint}"
        )
    if result.ndim == 0 or len(result) != len(inputs) or not result.is_floating_point() or result.numel() == 0:
        found = f"{tuple(result.shape)} of {result.dtype}"
        raise UserError(f"{len(inputs)} rows give {found}, and {len(inputs)} rows of numbers are needed. {hint}")
    return math.prod(result.shape[1:]), watch.fused, inputs._version > 0


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
