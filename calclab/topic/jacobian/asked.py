"""What is differentiated by what, and at which points: a map by its input, or the outputs of rows by parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import (
    Layer,
    Map,
    Plan,
    Products,
    chain,
    jacobians,
    maps,
    of_function,
    plan,
    products,
)
from calclab.subject.network import Network


class Asked(Protocol):
    """``count`` points, and at each of them a map R^n -> R^m."""

    @property
    def name(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def first(self) -> int:
        """The number of the first point: the row of the data."""
        ...

    @property
    def map(self) -> Map:
        """The map, at the first point."""
        ...

    def function(self, k: int) -> Function:
        """The same as a function that starts at point k."""
        ...

    def plan(self, *, way: str, memory: float, spectrum: bool) -> Plan:
        """The way to all Jacobians."""
        ...

    def look(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
        """f (b, m) and J (b, m, n) at points ``first`` to ``last`` - 1."""
        ...

    def products(self, first: int, last: int) -> Products: ...


@dataclass(frozen=True, eq=False)
class ByInput:
    """One map, at the points (N, n)."""

    name: str
    map: Map
    points: Tensor
    variables: tuple[str, ...]
    outputs: tuple[str, ...]
    at: Callable[[int], Function]
    first: int = 0
    module: nn.Module | None = None  # of a network, or of its part that ends with a layer

    @property
    def count(self) -> int:
        return len(self.points)

    def function(self, k: int) -> Function:
        return self.at(k)

    def plan(self, *, way: str, memory: float, spectrum: bool) -> Plan:
        return plan(self.map, self.count, way=way, memory=memory, spectrum=spectrum)

    def look(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
        x = self.points[first:last]
        return self.values(x), jacobians(self.map, x, made)

    def values(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            if self.map.rows is not None:
                return self.map.rows(x).detach()
            return torch.stack([self.map.call(point).detach() for point in x])

    def products(self, first: int, last: int) -> Products:
        return products(self.map, self.points[first:last])


@dataclass(frozen=True, eq=False)
class ByParameters:
    """The outputs for rows ``first``, ``first`` + 1, ... as functions of the parameters, (P,)."""

    name: str
    network: Network
    layer: str | None
    first: int
    count: int
    variables: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...] | None

    @cached_property
    def map(self) -> Map:
        return self.row(0)

    def row(self, k: int) -> Map:
        f = of_function(self.function(k), together=False)
        return replace(f, convolves=maps.has_convolutions(self.network.module))

    def function(self, k: int) -> Function:
        network, row = self.network, self.first + k
        x = network.data.inputs[row : row + 1]

        def call(θ: Tensor) -> Tensor:
            return outputs_of(network, self.layer, x, network.unflatten(θ))[0]

        name = f"{self.name} at row {row} of {network.data.name}"
        return Function(name, call, network.flatten(network.parameters()), self.variables, self.outputs)

    @cached_property
    def wanted(self) -> list[Tensor]:
        return [p for p in self.network.module.parameters() if p.requires_grad]

    def plan(self, *, way: str, memory: float, spectrum: bool) -> Plan:
        chained = self.layers is not None and chain.holds(self.layers, self.wanted)
        if way == "chain" and not chained:
            raise UserError(
                "way=chain by=parameters: that is for plain sequences of linear layers and activations. "
                "Type way=reverse"
            )
        way_ = "reverse" if way == "chain" else way
        made = plan(self.map, self.count, way=way_, memory=memory, spectrum=spectrum)
        if chained and way in ("auto", "chain") and made.way != "matrix_free":
            why = "asked for by way" if way == "chain" else "of a linear layer ∂f/∂W = δ ⊗ a: one pass down the layers"
            return replace(made, way="chain", why=why, split=chain.order(self.layers or ())[0])
        return made

    def look(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
        if made.way == "chain":
            x = self.network.rows[self.first + first : self.first + last]
            return chain.by_parameters(self.layers or (), x, self.wanted, made.split)
        maps_ = [self.row(k) for k in range(first, last)]
        with torch.no_grad():
            values = torch.stack([f.call(f.start) for f in maps_])
        return values, torch.cat([jacobians(f, f.start[None], made) for f in maps_])

    def products(self, first: int, last: int) -> Products:
        """Each row with a vector of its own: rows go together, every one with a copy of the parameters on the graph."""
        x, θ = self.network.data.inputs[self.first + first : self.first + last], self.map.start

        def together(Θ: Tensor) -> Tensor:
            return torch.vmap(self.one, randomness="different")(Θ, x)

        def apart(Θ: Tensor) -> Tensor:
            return torch.stack([self.one(θ, row) for θ, row in zip(Θ, x, strict=True)])

        rows = together if last - first > 1 and self.vectorised else apart
        return products(Map(lambda θ: self.one(θ, x[0]), θ, self.map.outputs, rows), θ.expand(last - first, -1))

    def one(self, θ: Tensor, row: Tensor) -> Tensor:
        """The outputs (m,) for one row (*shape)."""
        return outputs_of(self.network, self.layer, row[None], self.network.unflatten(θ))[0]

    @cached_property
    def vectorised(self) -> bool:
        """Whether vmap can follow the network."""
        x, θ = self.network.data.inputs[:2], self.map.start
        try:
            with torch.no_grad():
                torch.vmap(self.one, randomness="different")(θ.expand(len(x), -1), x)
        except Exception:
            return False  # any program of the user's may raise anything
        return True


def outputs_of(network: Network, layer: str | None, x: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """Outputs (B, m), or what ``layer`` gives, for inputs x (B, *shape)."""
    if layer is None:
        return network.evaluate(x, parameters)
    return network.activations(x, parameters)[layer].reshape(len(x), -1)
