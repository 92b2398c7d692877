"""The layers of a network: what each gives back, in the order of the calls, and their entries by name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from calclab.subject.network.functions import Network


def modules(network: Network) -> dict[str, nn.Module]:
    """All modules by name; the whole goes by the name of the network."""
    return {name or network.name: module for name, module in network.module.named_modules()}


def activations(network: Network, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The output of every module called on inputs (B, *shape), by name, in order of completion, on the graph.

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

    handles = [module.register_forward_hook(hook(name)) for name, module in modules(network).items()]
    try:
        network.evaluate(inputs, parameters)
    finally:
        for handle in handles:
            handle.remove()
    return found


def layers(network: Network) -> list[tuple[str, nn.Module]]:
    """The modules that do the work, in order of their first call: those that call no further ones."""
    known = modules(network)
    with torch.no_grad():
        called = list(activations(network, network.data.inputs[:1]))

    def within(other: str, name: str) -> bool:
        return other != name and (name == network.name or other.startswith(f"{name}."))

    return [(name, known[name]) for name in called if not any(within(other, name) for other in called)]


def entries(name: str, shape: torch.Size) -> list[str]:
    """Names of the entries of a tensor, row by row: b[0], b[1]; of a number, its own name."""
    if not shape:
        return [name]
    indices = itertools.product(*(map(str, range(size)) for size in shape))
    return [f"{name}[{','.join(index)}]" for index in indices]
