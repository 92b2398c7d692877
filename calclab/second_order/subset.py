"""Which part of θ is looked at: layers as slices of it, and parameters chosen by pattern.

θ (n,) holds the trainable parameters one after the other, in the order of ``named_parameters``; a tied one stands once.
The curvature by a part of θ is the block of the whole matrix that belongs to it, and its rows are `positions`.

>>> import calclab
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
>>> loss = calclab.loss(net, "mse", (torch.randn(8, 2), torch.randn(8, 1)))
>>> layers(loss)
{'0': slice(0, 9, None), '2': slice(9, 13, None)}
>>> choose(loss, ["*.bias"]), positions(loss, ["2.weight"]).tolist()
(('0.bias', '2.bias'), [9, 10, 11])
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.subject.network.layers import layer_of


def layers(network: Network) -> dict[str, slice]:
    """Each layer with trainable parameters, and its slice of θ (n,). Tied parameters belong to their first layer."""
    found: dict[str, slice] = {}
    first = 0
    for name, size in zip(network.shapes, network.sizes, strict=True):
        layer = layer_of(name)
        start = found[layer].start if layer in found else first
        first += size
        found[layer] = slice(start, first)
    return found


def choose(network: Network, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """The parameters, in their order, that a pattern names: ``hidden.0.weight``, a layer ``hidden.0`` with all in it,
    or with ``*``, ``?``, ``[...]`` as in file names. None names all.

    Raises UserError for a pattern that names none, with the layers that there are, and for a network that has none.
    """
    if not network.shapes:
        raise UserError(f"{network.name} has no trainable parameters. Ask for its inputs instead: topic=jacobian")
    if patterns is None:
        return tuple(network.shapes)
    if isinstance(patterns, str):
        patterns = [patterns]
    if not patterns:
        raise UserError("parameters=[] names none. Type parameters=null for all, or names of layers")
    taken: set[str] = set()
    for pattern in patterns:
        named = {name for name in network.shapes if matches(name, pattern)}
        if not named:
            have = list(layers(network))
            shown = ", ".join(have[:8]) + (f" and {len(have) - 8} more" if len(have) > 8 else "")
            raise UserError(f"parameters={pattern}: no trainable parameter is called so. The layers are {shown}")
        taken |= named
    return tuple(name for name in network.shapes if name in taken)


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern names the parameter, its layer, or a module around it."""
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") or fnmatchcase(layer_of(name), pattern)


def positions(network: Network, names: Sequence[str]) -> Tensor:
    """Where the entries of these parameters stand in θ, int64 (k,)."""
    chosen = set(names)
    device = next(iter(network.parameters().values())).device
    first, found = 0, []
    for name, size in zip(network.shapes, network.sizes, strict=True):
        if name in chosen:
            found.append(torch.arange(first, first + size, device=device))
        first += size
    return torch.cat(found)
