"""Fully connected layers."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from calclab.network.activation import activation as activation_called


class Mlp(nn.Module):
    """``depth`` hidden layers of ``width`` units, then a linear output: (B, *shape) to (B, outputs).

    Layers are called hidden.0 (linear), hidden.1 (activation), hidden.2 (linear), ... and output.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, width: int, depth: int, activation: str, bias: bool
    ) -> None:
        super().__init__()
        sizes = [math.prod(shape), *[width] * depth]
        self.hidden = nn.Sequential()
        for before, after in itertools.pairwise(sizes):
            self.hidden.append(nn.Linear(before, after, bias=bias))
            self.hidden.append(activation_called(activation))
        self.output = nn.Linear(sizes[-1], outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.hidden(x.flatten(1)))
        return result
