"""The outputs of each row as functions of the parameters: J = ∂y/∂θ, (m, P), row by row.

Of a linear layer ∂y/∂W = δ ⊗ a and ∂y/∂b = δ, with a what goes in and δ = ∂y/∂(W a + b): where the network is a plain
sequence of such layers, one pass down has all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import Layer, Map, Plan, Products, chain, jacobians, maps, of_function, plan, products
from calclab.subject.network import Network
from calclab.topic.jacobian.problem import outputs_of


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

    @property
    def shape(self) -> tuple[int, int]:
        return self.map.outputs, self.map.inputs

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

    def values_and_jacobians(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
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
