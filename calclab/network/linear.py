"""One linear layer."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Linear(nn.Module):
    """y = W x + b on the flattened row: (B, *shape) to (B, outputs). W is (outputs, d)."""

    def __init__(self, shape: tuple[int, ...], outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x.flatten(1))
        return result
