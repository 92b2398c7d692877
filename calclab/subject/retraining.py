"""The network once more: with the parameters of its layers drawn anew, or trained anew as it was, on other rows.

A layer is drawn anew by its own ``reset_parameters``, as torch made it in the first place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.errors import UserError
from calclab.network.build import own_copy, seeded
from calclab.subject.network import Network, trained
from calclab.subject.scores import predictions, right

STREAM = 6  # sets these draws apart from others of the same seed
FOLDS = 5


def drawn(seed: int, *place: int) -> int:
    """A seed for one purpose."""
    words = np.random.SeedSequence(seed, spawn_key=(STREAM, *place)).generate_state(1, np.uint32)
    return int(words[0])


def own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def reset_of(module: nn.Module) -> Callable[[], Any] | None:
    """What draws the module's own parameters anew."""
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None


def stubborn(network: Network) -> list[str]:
    """The modules with parameters that cannot be drawn anew."""
    return [
        name or network.name
        for name, module in network.module.named_modules()
        if own(module) and reset_of(module) is None
    ]


def resettable(network: Network) -> list[str]:
    """The layers whose parameters can be drawn anew, from the output to the input."""
    return [name for name, module in network.layers()[::-1] if own(module) and reset_of(module) is not None]


def with_new(network: Network, layers: Sequence[str] | None, seed: int) -> Network:
    """A copy with new parameters in ``layers`` (None: in all); the network itself is left alone.

    They are drawn in torch's default dtype, as they were in the first place.
    """
    module = own_copy(network.module)
    dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())
    module.to(dtype=torch.get_default_dtype())
    with seeded(seed), torch.no_grad():
        for name, layer in module.named_modules():
            if (layers is None or name in layers) and own(layer) and (reset := reset_of(layer)) is not None:
                reset()
    module.to(dtype=dtype)
    if layers is not None:
        restore(network.module, module, layers)
    return replace(network, module=module, notes=(), training=0)


def restore(before: nn.Module, after: nn.Module, layers: Sequence[str]) -> None:
    """Every parameter of ``after`` outside ``layers`` as it is in ``before``, bit for bit."""
    old = before.state_dict()
    with torch.no_grad():
        for name, value in after.state_dict().items():
            if name.rpartition(".")[0] not in layers:
                value.copy_(old[name])


def folds(data: Data, count: int, seed: int) -> Tensor:
    """The fold (B,) of each row, 0 to ``count`` - 1: of each class alike, by the seed."""
    rows = len(data.inputs)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(drawn(seed, 0)))
    if data.classification:
        order = order[data.targets.cpu()[order].argsort(stable=True)]
    found = torch.empty(rows, dtype=torch.int64)
    found[order] = torch.arange(rows) % count
    return found


def train(network: Network, data: Data, steps: int, seed: int) -> Network | None:
    """The network trained from other weights on ``data``; None where the loss left the finite numbers."""
    fresh = replace(with_new(network, None, seed), data=data)
    try:
        return trained(fresh, steps)
    except UserError:
        return None


def errors(network: Network, data: Data) -> Tensor:
    """How wrong the network is (B,) on each row: 0 or 1 of a class, the mean squared error of numbers."""
    outputs = predictions(network, network.flatten(network.parameters()), data.inputs)
    if data.classification:
        return 1 - right(network, outputs, data.targets)
    return (outputs - data.targets).square().mean(1)


def guesses(learned: Data, data: Data) -> Tensor:
    """How wrong it is (B,) to guess what is commonest among the rows to learn from, or their mean."""
    if data.classification:
        commonest = learned.targets.bincount().argmax()
        return (data.targets != commonest).to(data.inputs.dtype)
    return (data.targets - learned.targets.mean(0)).square().mean(1)
