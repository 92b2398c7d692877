"""Fully connected residual layers: what a skip keeps, and what each layer adds to it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from calclab.network.activation import activation as activation_called


class Block(nn.Module):
    """h ↦ skip · h + branch · W φ(h); without a skip (0) a plain layer."""

    def __init__(self, width: int, *, activation: str, skip: float, branch: float) -> None:
        super().__init__()
        self.skip, self.branch = skip, branch
        self.activation = activation_called(activation)
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        added: Tensor = self.branch * self.linear(self.activation(h))
        return added if self.skip == 0 else self.skip * h + added


class Residual(nn.Module):
    """A linear layer to ``width`` units, ``depth`` blocks, a linear output: (B, *shape) to (B, outputs).

    Layers are called first, blocks.0, blocks.1, ... and output. He et al. (2016) with pre-activations.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        width: int,
        depth: int,
        activation: str,
        skip: float,
        branch: float,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(shape), width, bias=False)
        self.blocks = nn.Sequential(
            *(Block(width, activation=activation, skip=skip, branch=branch) for _ in range(depth))
        )
        self.output = nn.Linear(width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.blocks(self.first(x.flatten(1))))
        return result
