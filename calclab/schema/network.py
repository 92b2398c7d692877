"""Knobs of the networks: ``network=mlp network.width=64``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus", "identity")
LOSSES = ("cross_entropy", "mse", "half_mse", "mae", "huber", "bce", "sum")


@dataclass(frozen=True, kw_only=True)
class Custom(Schema):
    """Any torch.nn.Module; the knobs here are those of every network."""

    weights: str | None = knob(
        "a checkpoint: a file that torch.save wrote (tensors alone), safetensors, or a folder with one", "weights.pt"
    )
    parameters: dict[str, Any] | None = knob(
        "parameters set by hand: names to nested lists", "'{linear.weight: [[1, 2, 3]]}'"
    )
    loss: str | None = knob(
        "the loss; null takes cross_entropy for classes, mse for numbers, sum without targets",
        "mse",
        choices=LOSSES,
        own=True,
    )


@dataclass(frozen=True, kw_only=True)
class Linear(Custom):
    bias: bool = knob("add a bias", "false")


@dataclass(frozen=True, kw_only=True)
class Mlp(Custom):
    width: int = knob("units of each hidden layer", 64, at_least=1)
    depth: int = knob("how many hidden layers", 3, at_least=0)
    activation: str = knob("what follows each hidden layer", "relu", choices=ACTIVATIONS)
    bias: bool = knob("add biases", "false")


@dataclass(frozen=True, kw_only=True)
class Deep(Custom):
    width: int = knob("units of each hidden layer", 64, at_least=1)
    depth: int = knob("how many hidden layers", 50, at_least=0)
    activation: str = knob("what follows each hidden layer", "tanh", choices=ACTIVATIONS)
    bias: bool = knob("add biases, zero at first", "true")
    init: str = knob(
        "how weights are drawn: normal with variance 1/inputs, or orthogonal",
        "orthogonal",
        choices=("gaussian", "orthogonal"),
    )
    gain: float = knob("what the weights drawn are multiplied by", 1.5, above=0)


@dataclass(frozen=True, kw_only=True)
class Residual(Custom):
    width: int = knob("units of each layer", 64, at_least=1)
    depth: int = knob("how many residual layers", 20, at_least=0)
    activation: str = knob("what the weights of a residual layer come after", "tanh", choices=ACTIVATIONS)
    skip: float = knob("what is kept of a layer's input is multiplied by this; 0: plain layers", 0, at_least=0)
    branch: float = knob("what a layer adds is multiplied by this", 0.1, above=0)


@dataclass(frozen=True, kw_only=True)
class Cnn(Custom):
    channels: int = knob("channels of the first block; each further one has twice as many", 8, at_least=1)
    blocks: int = knob("how many convolutions, each followed by halving the image", 2, at_least=1)
    activation: str = knob("what follows each convolution", "relu", choices=ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class Resnet(Custom):
    channels: int = knob("channels of the first stage; each further one has twice as many", 8, at_least=1)
    stages: int = knob("how many stages; from each to the next the image is halved", 2, at_least=1)
    blocks: int = knob("residual blocks in each stage", 1, at_least=1)
    activation: str = knob("what follows each convolution", "relu", choices=ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class Transformer(Custom):
    width: int = knob("numbers that stand for a token; a multiple of the heads", 16, at_least=1)
    heads: int = knob("how many attention heads", 2, at_least=1)
    blocks: int = knob("how many encoder blocks", 2, at_least=1)
    activation: str = knob("what lies between the two layers of each block", "gelu", choices=ACTIVATIONS)
