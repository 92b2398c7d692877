"""The parameters of a network that are shown, and their gradients as tables with names for rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject.network import Network
from calclab.subject.network.layers import layer_of

ENTRIES = 10_000  # a gradient with more entries is told by its shape and norm only


@dataclass(frozen=True)
class Parameters:
    """Those of ``layer``, or of all layers. The gradient of each is in a state as grad.<name>."""

    network: Network
    layer: str | None

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        every = self.network.parameters()
        return {name: p for name, p in every.items() if self.layer is None or f"{name}.".startswith(f"{self.layer}.")}

    @cached_property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer_of(name) for name in self.tensors))

    @property
    def written(self) -> list[str]:
        """The names of those small enough to be written entry by entry."""
        return [name for name, p in self.tensors.items() if p.numel() <= ENTRIES]

    def of_layer(self, layer: str) -> dict[str, Tensor]:
        """Those of one layer, by name."""
        return {name: p for name, p in self.tensors.items() if layer_of(name) == layer}

    def layer_norm(self, state: State, layer: str) -> Tensor:
        """The norm () of the gradients of all parameters of one layer."""
        parts = [state[f"grad.{name}"].flatten() for name in self.of_layer(layer)]
        return torch.cat(parts).norm()

    def axes(self) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
        """Names for rows and columns of each: the first takes in the features, the last gives the classes."""
        every = self.network.parameters()
        axes: dict[str, tuple[Sequence[str], Sequence[str]]] = dict.fromkeys(every, ((), ()))
        weights = [layer_of(name) for name, p in every.items() if p.ndim > 1]
        for name in axes:
            rows = self.network.outputs if weights and layer_of(name) == weights[-1] else ()
            columns = self.network.data.features if weights and layer_of(name) == weights[0] else ()
            axes[name] = (rows, columns)
        return axes


def as_matrix(tensor: Tensor) -> Tensor:
    """A gradient as a table: (m, rest) of a convolution's (m, c, h, w); vectors and matrices as they are."""
    return tensor.reshape(1) if tensor.ndim == 0 else tensor if tensor.ndim <= 2 else tensor.flatten(1)
