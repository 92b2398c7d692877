"""A record of one forward pass of a network: which layers ran, in which order, what went in and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from calclab.subject.network import Network

FACTOR, RANGE = 2.0, 10.0  # a signal vanishes or explodes by FACTOR a layer and RANGE in all,
FAR = 1e3  # or by so much in all


@dataclass
class Tape:
    """One forward pass: each module called that calls no further ones, in order, with its input and output (still on
    the graph); of several outputs the first, the ``others`` beside it."""

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # as the module names them: a layer called twice has one path
    modules: list[nn.Module] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)  # whether it took nothing else
    others: list[tuple[Tensor, ...]] = field(default_factory=list)
    sequential: bool = True  # each leaf takes what the one before gave, and the last one's output is the network's


@dataclass
class Call:
    """A module that is running: what it was given, whether that is what came last, and whether it has called others."""

    given: Tensor
    alone: bool
    follows: bool
    leaf: bool = True


def record(network: Network, parameters: dict[str, Tensor], x: Tensor) -> tuple[Tape, Tensor]:
    """Run the network on x (B, *shape) with hooks on its modules: the tape, and the outputs (B, m).

    A leaf hands on a copy of its output, and of what a leaf writes over a copy is recorded, so that layers which work
    in place spoil nothing. Of TorchScript, which takes no hooks, nothing is seen.
    """
    tape, calls = Tape(), Counter[str]()
    last = [(x, x._version)]
    running: list[Call] = []

    def before(leaf: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if running:
            running[-1].leaf = False
        given = next(tensors((args, kwargs)), x.new_empty(0))
        follows = untouched(given, *last[0])
        written = getattr(leaf, "inplace", False)
        running.append(Call(given.clone() if written else given, len(args) + len(kwargs) == 1, follows))

    def hook(path: str) -> Any:
        def note(leaf: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            call, given = running.pop(), tuple(tensors(output))
            if not call.leaf:
                return None
            if not given:
                tape.sequential = False
                return None
            calls[path] += 1
            name = path or network.name
            tape.names.append(f"{name}#{calls[path]}" if calls[path] > 1 else name)
            tape.paths.append(path)
            tape.modules.append(leaf)
            single = isinstance(output, Tensor) and bool(args) and isinstance(args[0], Tensor)
            tape.sequential = tape.sequential and single and call.alone and call.follows
            tape.inputs.append(call.given)
            tape.alone.append(call.alone)
            tape.outputs.append(given[0])
            tape.others.append(given[1:])
            if not isinstance(output, Tensor):
                return None
            copy = output.clone()
            last[0] = (copy, copy._version)
            return copy

        return note

    found = [
        (path, module)
        for path, module in network.module.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    handles = [module.register_forward_hook(hook(path), with_kwargs=True) for path, module in found]
    handles += [module.register_forward_pre_hook(before, with_kwargs=True) for _, module in found]
    try:
        result = network.evaluate(x, parameters)
    finally:
        for handle in handles:
            handle.remove()
    tape.sequential = tape.sequential and network.pure and untouched(result, *last[0])
    return tape, result


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from tensors(entry)
    elif isinstance(value, dict):
        yield from tensors(tuple(value.values()))


def untouched(tensor: Tensor, before: Tensor, version: int) -> bool:
    """Whether ``tensor`` is ``before`` as it was then, at most seen in another shape: same memory, same version."""
    if tensor is before:
        return tensor._version == version
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, (tensor, before))):  # no memory to compare
        return False
    same = tensor.numel() == before.numel() and tensor.data_ptr() == before.data_ptr() and not tensor.is_meta
    return same and tensor.is_contiguous() and before.is_contiguous() and tensor._version == version


def trend(weighted: Sequence[int], signals: Tensor) -> tuple[str, Tensor | None]:
    """Whether the norms of a signal at the layers, (L,), vanish, explode or are steady towards the input; and the
    geometric mean of their factors between the ``weighted`` layers, those that count.

    >>> trend([0, 1, 2], torch.tensor([1e-2, 1e-1, 1.0]))
    ('vanishing', tensor(0.1000))
    """
    if len(weighted) < 2:
        return "that of one layer: nothing to compare", None
    total = signals[weighted[0]] / signals[weighted[-1]]
    factor = total ** (1 / (len(weighted) - 1))
    if not bool(total.isfinite()):
        return "zero or not finite at the last layer", None
    for word, f, t in (("vanishing", 1 / factor, 1 / total), ("exploding", factor, total)):
        if bool(t > FAR) or (bool(f > FACTOR) and bool(t > RANGE)):
            return word, factor
    return "steady", factor
