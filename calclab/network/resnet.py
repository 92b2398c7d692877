"""A residual network with group normalisation."""

from __future__ import annotations

import math

from torch import Tensor, nn

from calclab.network.activation import activation as activation_called
from calclab.network.image import image_shape


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) in at most four groups: unlike batch normalisation it never mixes rows."""
    return nn.GroupNorm(math.gcd(channels, 4), channels)


class Block(nn.Module):
    """a(x' + F(x)) with F two normalised 3×3 convolutions, x' = x or its 1×1 projection (He et al. 2016, figure 2)."""

    def __init__(self, before: int, after: int, stride: int, activation: str) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = normalisation(after)
        self.activation1 = activation_called(activation)
        self.convolution2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.norm2 = normalisation(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False)
        self.activation2 = activation_called(activation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation1(self.norm1(self.convolution1(x)))
        result: Tensor = self.activation2(self.norm2(self.convolution2(y)) + self.shortcut(x))
        return result


class Resnet(nn.Module):
    """A stem, ``stages`` stages of ``blocks`` blocks, the mean over the image, a linear output: (B, c, h, w) to (B, m).

    The first stage has ``channels`` channels; each further one twice as many on an image half as large.
    Layers are called stem.0, stages.0.0.convolution1, ..., pool and output.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, channels: int, stages: int, blocks: int, activation: str
    ) -> None:
        super().__init__()
        inputs, _, _ = image_shape("resnet", shape, stages - 1, f"network.stages={stages}")
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=False),
            normalisation(channels),
            activation_called(activation),
        )
        self.stages = nn.Sequential()
        before = channels
        for stage in range(stages):
            after = channels * 2**stage
            strides = [1 if stage == 0 else 2, *[1] * (blocks - 1)]
            sizes = [before, *[after] * (blocks - 1)]
            pairs = zip(sizes, strides, strict=True)
            self.stages.append(nn.Sequential(*(Block(size, after, stride, activation) for size, stride in pairs)))
            before = after
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(before, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.pool(self.stages(self.stem(x))).flatten(1))
        return result
