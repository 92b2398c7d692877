"""A record of one forward pass of a network: which layers ran, in which order, what went in and what came out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from calclab.function.network import Network


@dataclass
class Tape:
    """One forward pass: each leaf module called, in order, with its input and output (still on the graph)."""

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # as the module names them: a layer called twice has one path
    modules: list[nn.Module] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)  # whether it took nothing else
    sequential: bool = True  # each leaf takes what the one before gave, and the last one's output is the network's


def record(network: Network, parameters: dict[str, Tensor], x: Tensor) -> tuple[Tape, Tensor]:
    """Run the network on x (B, *shape) with hooks on its leaves: the tape, and the outputs (B, m).

    A leaf hands on a copy of its output, and of what a leaf writes over a copy is recorded, so that layers which work
    in place spoil nothing.
    """
    tape, calls = Tape(), Counter[str]()
    last = [(x, x._version)]
    taken: dict[str, tuple[Tensor, bool]] = {}

    def before(path: str) -> Any:
        def note(leaf: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                taken[path] = args[0].clone(), untouched(args[0], *last[0])

        return note

    def hook(path: str) -> Any:
        def note(leaf: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if not (isinstance(output, Tensor) and args and isinstance(args[0], Tensor)):
                tape.sequential = False
                return None
            calls[path] += 1
            name = path or network.name
            tape.names.append(f"{name}#{calls[path]}" if calls[path] > 1 else name)
            tape.paths.append(path)
            tape.modules.append(leaf)
            given, follows = taken.pop(path) if path in taken else (args[0], untouched(args[0], *last[0]))
            tape.sequential = tape.sequential and len(args) == 1 and follows
            tape.inputs.append(given)
            tape.alone.append(len(args) == 1)
            tape.outputs.append(output)
            copy = output.clone()
            last[0] = (copy, copy._version)
            return copy

        return note

    leaves = [(path, leaf) for path, leaf in network.module.named_modules() if not any(True for _ in leaf.children())]
    handles = [leaf.register_forward_hook(hook(path)) for path, leaf in leaves]
    handles += [
        leaf.register_forward_pre_hook(before(path)) for path, leaf in leaves if getattr(leaf, "inplace", False)
    ]
    try:
        result = network.evaluate(x, parameters)
    finally:
        for handle in handles:
            handle.remove()
    tape.sequential = tape.sequential and network.pure and untouched(result, *last[0])
    return tape, result


def untouched(tensor: Tensor, before: Tensor, version: int) -> bool:
    """Whether ``tensor`` is ``before`` as it was then, at most seen in another shape: same memory, same version."""
    if tensor is before:
        return tensor._version == version
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, (tensor, before))):  # no memory to compare
        return False
    same = tensor.numel() == before.numel() and tensor.data_ptr() == before.data_ptr() and not tensor.is_meta
    return same and tensor.is_contiguous() and before.is_contiguous() and tensor._version == version
