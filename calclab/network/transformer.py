"""A transformer encoder over the tokens of a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from calclab.errors import UserError
from calclab.network.activation import activation as activation_called


class Attention(nn.Module):
    """softmax(Q Kᵀ / √(width/heads)) V in each head (Vaswani et al. 2017, section 3.2): (B, L, width) to the same.

    Written out, since torch's fused kernels have no second derivatives.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)
        result: Tensor = self.output((weights @ v).transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x)): normalised before each part (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), activation_called(activation), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.feed(self.norm2(x))
        return result


class Transformer(nn.Module):
    """Tokens embedded with learned positions, ``blocks`` encoder blocks, their mean, a linear output: to (B, outputs).

    An image (c, h, w) is h tokens, its lines, of c·w numbers; a sequence (L, e) is L tokens of e numbers; d flat
    features are d tokens of one number. Layers are called embedding, blocks.0.attention.query, ..., norm and output.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, width: int, heads: int, blocks: int, activation: str
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(
                f"network.width={width} network.heads={heads}: the width must be a multiple of the heads. "
                f"Type network.width={heads * max(1, round(width / heads))}"
            )
        length = shape[-2] if len(shape) > 1 else math.prod(shape)
        self.embedding = nn.Linear(math.prod(shape) // length, width)
        self.position = nn.Parameter(torch.empty(length, width))
        self.reset_parameters()
        self.blocks = nn.Sequential(*(Block(width, heads, activation) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, outputs)

    def reset_parameters(self) -> None:
        """Draw the positions anew, normal with deviation 0.02 (Radford et al. 2018, section 4.1); layers draw their
        own."""
        with torch.no_grad():
            self.position.copy_(0.02 * torch.randn(self.position.shape))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.movedim(-2, 1).flatten(2) if x.ndim > 2 else x.unsqueeze(2)
        y = self.blocks(self.embedding(tokens) + self.position)
        result: Tensor = self.output(self.norm(y).mean(dim=1))
        return result
