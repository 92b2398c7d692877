"""The layers of a network: what each gives back, in the order of the calls, and their entries by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Size, Tensor, nn


def modules(module: nn.Module, name: str) -> dict[str, nn.Module]:
    """All modules by name; the whole goes by the ``name`` of the network."""
    return {path or name: part for path, part in module.named_modules()}


def activations(parts: Mapping[str, nn.Module], call: Callable[[], object]) -> dict[str, Tensor]:
    """The output of every one of ``parts`` that ``call`` calls, by name, in order of completion, on the graph.

    A module called several times is listed with its first call; of several outputs the first is taken. A copy of the
    output is handed on, so that what works in place does not write over what is listed.
    """
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor):
                found.setdefault(name, first)
            return output.clone() if isinstance(output, Tensor) else None

        return note

    handles = [part.register_forward_hook(hook(name)) for name, part in parts.items()]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return found


def innermost(called: Sequence[str], whole: str) -> list[str]:
    """Of the modules ``called``, by name, those within which no further one is called; ``whole`` has all within."""

    def within(other: str, name: str) -> bool:
        return other != name and (name == whole or other.startswith(f"{name}."))

    return [name for name in called if not any(within(other, name) for other in called)]


def layer_of(parameter: str) -> str:
    """The module that holds a parameter; one of the network itself goes by its own name."""
    return parameter.rpartition(".")[0] or parameter


def entries(name: str, shape: Size) -> list[str]:
    """Names of the entries of a tensor, row by row: b[0], b[1]; of a number, its own name."""
    if not shape:
        return [name]
    indices = itertools.product(*(map(str, range(size)) for size in shape))
    return [f"{name}[{','.join(index)}]" for index in indices]
