"""A convolutional network."""

from __future__ import annotations

from torch import Tensor, nn

from calclab.network.activation import activation as activation_called
from calclab.network.image import image_shape


class Cnn(nn.Module):
    """``blocks`` times (3×3 convolution, activation, 2×2 mean), then a linear output: (B, c, h, w) to (B, outputs).

    The first block has ``channels`` channels, each further one twice as many. The mean is taken and not the maximum,
    whose gradient jumps. Layers are called features.0, features.1, ... and output.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, *, channels: int, blocks: int, activation: str) -> None:
        super().__init__()
        before, height, width = image_shape("cnn", shape, blocks, f"network.blocks={blocks}")
        self.features = nn.Sequential()
        for k in range(blocks):
            after = channels * 2**k
            self.features.append(nn.Conv2d(before, after, kernel_size=3, padding=1))
            self.features.append(activation_called(activation))
            self.features.append(nn.AvgPool2d(2))
            before = after
        self.output = nn.Linear(before * (height >> blocks) * (width >> blocks), outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.features(x).flatten(1))
        return result
