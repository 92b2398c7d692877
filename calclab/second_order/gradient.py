"""The loss and its gradient over data of any size, and what one gradient costs: the unit that products are told in.

L = w Σ_b ℓ_b and ∇L = w Σ_b ∇ℓ_b, w = 1/B of a loss that is a mean: sums over rows may be cut anywhere, so that chunks
of rows that fit the memory give the same numbers as all at once, but for rounding. A chunk computes in the dtype of the
network; chunks are added up in float64, whose rounding does not grow with their number to anything that is seen. Where
rows know of each other (batch statistics) there is one chunk, and UserError if it does not fit.

>>> import calclab
>>> line = torch.nn.Linear(1, 1).double()
>>> rows = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [2.0]])
>>> loss = calclab.loss(line, "mse", rows)
>>> whole, parts = value_and_gradient(loss), value_and_gradient(loss, rows=1)
>>> torch.allclose(whole[1], parts[1], rtol=1e-14)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from calclab.core import Data
from calclab.core.values import wide
from calclab.numerics.chunks import enough, graph_bytes, limits, plan
from calclab.numerics.lanes import clock
from calclab.second_order.graph import Subject, pull, subject
from calclab.second_order.subset import choose
from calclab.subject.network import Network


def total(about: Subject, windows: Sequence[slice], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The sum of the losses () and its gradient (k,), added up over the windows in ``dtype``."""
    value: Tensor | float = 0.0
    gradient: Tensor | float = 0.0
    for window in windows:
        with torch.enable_grad():
            leaves = about.leaves()
            loss = about.total(leaves, window)
        value = value + loss.detach().to(dtype)
        found = pull([loss], leaves, None, keep=False)
        parts = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]
        gradient = gradient + torch.cat([part.reshape(-1) for part in parts]).to(dtype)
    return torch.as_tensor(value), torch.as_tensor(gradient)


def value_and_gradient(
    network: Network,
    *,
    at: Tensor | None = None,
    parameters: Sequence[str] | None = None,
    data: Data | None = None,
    rows: int | None = None,
    memory: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss () and its gradient (k,) by the chosen parameters, in float64, a chunk of rows at a time."""
    own = network.data if data is None else data
    about = subject(network, own, at, choose(network, parameters))
    windows = windows_of(about, rows, memory)
    value, gradient = total(about, windows, wide(own.inputs.device))
    return value * about.weight, gradient * about.weight


def windows_of(about: Subject, rows: int | None, memory: float | None) -> list[slice]:
    """The chunks of rows, as many rows in each as ``rows`` and the bytes of ``memory`` allow; UserError where even one
    row, or all rows that know of each other, do not fit."""
    count = len(about.data.inputs)
    sizes = graph_bytes(partial(forward, about), count)
    mixed = about.network.mixes(about.data)
    memory, rows = limits(memory, rows, about.data.inputs, about.data.targets)
    enough(sizes, count, memory, mixed)
    return plan(sizes, count, rows, memory, mixed).windows


def forward(about: Subject, window: slice) -> Tensor:
    with torch.enable_grad():
        return about.total(about.leaves(), window)


def gradient_cost(network: Network, *, data: Data | None = None, memory: float | None = None, rounds: int = 5) -> float:
    """Seconds (of the processor, or of the device) of one gradient of the loss over all rows, the least of several."""
    own = network.data if data is None else data
    about = subject(network, own, None, choose(network, None))
    windows = windows_of(about, None, memory)
    times = []
    for _ in range(rounds):
        began = clock(own.inputs.device)
        total(about, windows, wide(own.inputs.device))
        times.append(clock(own.inputs.device) - began)
    return min(times)
