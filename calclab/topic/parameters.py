"""Parameters of a network as tables: the layer each belongs to, and names for its rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from calclab.subject.network import Network


def layer_of(parameter: str) -> str:
    """The layer that holds a parameter: hidden.0 of hidden.0.weight."""
    return parameter.rpartition(".")[0] or parameter


def as_matrix(tensor: Tensor) -> Tensor:
    """A gradient as a table: (m, rest) of a convolution's (m, c, h, w); vectors and matrices as they are."""
    return tensor.reshape(1) if tensor.ndim == 0 else tensor if tensor.ndim <= 2 else tensor.flatten(1)


def ends_of(network: Network) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Names for the rows and columns of each parameter: the first takes in the features, the last gives the classes."""
    ends: dict[str, tuple[Sequence[str], Sequence[str]]] = dict.fromkeys(network.parameters(), ((), ()))
    weights = [layer_of(name) for name, p in network.parameters().items() if p.ndim > 1]
    for name in ends:
        rows = network.outputs if weights and layer_of(name) == weights[-1] else ()
        columns = network.data.features if weights and layer_of(name) == weights[0] else ()
        ends[name] = (rows, columns)
    return ends
