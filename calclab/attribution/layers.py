"""Layers and neurons by name.

A layer is a module that is run once in a pass; what it gives of a row is an array, (width,) or (channels, h, w), and a
neuron is a place in that: a number, or one for each axis. Shapes are found by one hooked pass of a single row. A module
that is run twice gives two arrays, so that its units are not one thing each, and is refused.

>>> listed([f"hidden.{i}" for i in range(14)])  # doctest: +ELLIPSIS
'hidden.0, hidden.1, ..., hidden.11 and 2 more'
>>> written([1, 2, 0]), written([3])
('[1,2,0]', '3')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution.question import Question
from calclab.errors import UserError

Neuron = int | Sequence[int]
LISTED = 12  # layers that a message names


def outputs_of(q: Question, layer: str) -> torch.Size:
    """The shape of what a layer gives of one row; UserError for a layer that there is not, or that is not run once."""
    module = q.model.module
    known = dict(module.named_modules())
    if layer not in known or not layer:
        raise UserError(f"layer={layer}: the layers are {listed(list(shapes_of(q))) or 'none'}")
    found = shapes_of(q, [layer])
    if layer not in found:
        raise UserError(
            f"layer={layer}: it is run in no pass or in several places, so that its units are not one thing. "
            f"The layers are {listed(list(shapes_of(q)))}"
        )
    return found[layer]


def shapes_of(q: Question, layers: Sequence[str] | None = None) -> dict[str, torch.Size]:
    """The shapes of what the layers (None: all that are made of no others) give of one row, in the order in which they
    are run; those that are run twice, or give no array, are left out.

    Of a layer that gives a tuple, such as a recurrent one, it is the first of it.
    """
    calls: dict[str, list[torch.Size | None]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, args: Any, result: Any) -> None:
            first = result[0] if isinstance(result, tuple) and result else result
            calls.setdefault(name, []).append(first.shape[1:] if isinstance(first, Tensor) else None)

        return hook

    chosen = [
        (name, module)
        for name, module in q.model.module.named_modules()
        if (name in layers if layers is not None else name and not any(True for _ in module.children()))
    ]
    handles = [module.register_forward_hook(note(name)) for name, module in chosen]
    try:
        with torch.no_grad():
            q.model.outputs(q.rows[:1], None if q.recording.owner is None else q.recording.owner[:1])
    finally:
        for handle in handles:
            handle.remove()
    return {name: shape for name, (shape, *more) in calls.items() if shape is not None and not more}


def selector(q: Question, layer: str, neuron: Neuron) -> Any:
    """A neuron as Captum takes it: a number, or a tuple of one for each axis; UserError where the layer has none at
    that place."""
    shape = outputs_of(q, layer)
    place = (neuron,) if isinstance(neuron, int) else tuple(neuron)
    whole = all(isinstance(i, int) and not isinstance(i, bool) for i in place)
    if not whole or len(place) != len(shape) or any(not 0 <= i < n for i, n in zip(place, shape, strict=True)):
        last = [n - 1 for n in shape]
        first = written([0] * len(shape))
        raise UserError(
            f"neuron={neuron}: layer={layer} has the neurons {first} to {written(last)}. Type neuron={quoted(first)}"
        )
    return place[0] if len(place) == 1 else place


def written(place: Sequence[int]) -> str:
    """A neuron's place as it is typed: 3, or [0,4,2] in an image."""
    return str(place[0]) if len(place) == 1 else f"[{','.join(map(str, place))}]"


def quoted(text: str) -> str:
    """As a shell takes it: brackets need quotes."""
    return f"'{text}'" if "[" in text else text


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
