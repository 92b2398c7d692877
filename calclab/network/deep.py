"""Fully connected layers whose weights are drawn for depth: Gaussian or orthogonal, times a gain."""

from __future__ import annotations

import math

import torch
from torch import nn

from calclab.network.mlp import Mlp


def deep(
    shape: tuple[int, ...],
    outputs: int,
    *,
    width: int,
    depth: int,
    activation: str,
    bias: bool,
    init: str,
    gain: float,
) -> Mlp:
    """An `Mlp` with weights (a, b) from N(0, gain² / b), which keep squared norms on average, or gain times a random
    orthogonal basis, which keeps every norm (Saxe et al. 2014); biases are zero.
    """
    made = Mlp(shape, outputs, width=width, depth=depth, activation=activation, bias=bias)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Linear):
                if init == "gaussian":
                    layer.weight.normal_(0.0, gain / math.sqrt(layer.in_features))
                else:
                    nn.init.orthogonal_(layer.weight, gain)
                if bias:
                    layer.bias.zero_()
    return made
