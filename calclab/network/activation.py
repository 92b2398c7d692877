"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from calclab.errors import UserError


class Softplus(nn.Module):
    """log(1 + e^x) as -log sigmoid(-x): torch's own turns into x above 20, and its second derivative into 0."""

    entrywise = True

    def forward(self, x: Tensor) -> Tensor:
        return -functional.logsigmoid(-x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": Softplus,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """A new module for the activation called ``name``."""
    if name not in ACTIVATIONS:
        raise UserError(f"activation={name}: the activations are {', '.join(ACTIVATIONS)}. Type activation=relu")
    return ACTIVATIONS[name]()
