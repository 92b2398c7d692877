"""What is differentiated by what, and at which points: a map R^n -> R^m by its input, or outputs by parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import (
    Layer,
    Map,
    Plan,
    Products,
    jacobians,
    maps,
    of_function,
    plan,
    products,
    sequence,
    traced,
)
from calclab.subject.network import Network, entries


class JacobianProblem(Protocol):
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

    @property
    def shape(self) -> tuple[int, int]:
        """Of the Jacobian at a point, (m, n)."""
        ...

    def function(self, k: int) -> Function:
        """The same as a function that starts at point k."""
        ...

    def plan(self, *, way: str, memory: float, spectrum: bool) -> Plan:
        """The way to all Jacobians."""
        ...

    def values_and_jacobians(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
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

    @property
    def shape(self) -> tuple[int, int]:
        return self.map.outputs, self.map.inputs

    def function(self, k: int) -> Function:
        return self.at(k)

    def plan(self, *, way: str, memory: float, spectrum: bool) -> Plan:
        return plan(self.map, self.count, way=way, memory=memory, spectrum=spectrum)

    def values_and_jacobians(self, first: int, last: int, made: Plan) -> tuple[Tensor, Tensor]:
        x = self.points[first:last]
        return self.values(x), jacobians(self.map, x, made)

    def values(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            if self.map.rows is not None:
                return self.map.rows(x).detach()
            return torch.stack([self.map.call(point).detach() for point in x])

    def products(self, first: int, last: int) -> Products:
        return products(self.map, self.points[first:last])


# --- of a function ---


def of_points(function: Function, points: Any, seed: int) -> ByInput:
    """A function at its start, at the points given, or at so many drawn by the seed."""
    x = chosen(function, points, seed)

    def at(k: int) -> Function:
        return replace(function, start=x[k], links=())

    f = of_function(replace(function, start=x[0]))
    return ByInput(function.name, f, x, function.variables, function.outputs, at)


def chosen(function: Function, points: Any, seed: int) -> Tensor:
    """The points (N, n): drawn evenly from the domain, or from a normal distribution around the start without one."""
    x, n = function.start, len(function.start)
    if points is None:
        return x[None]
    if isinstance(points, int) and not isinstance(points, bool) and points >= 1:
        maker = torch.Generator(device=x.device).manual_seed(seed)
        if function.domain is None:
            return x + torch.randn(points, n, generator=maker, dtype=x.dtype, device=x.device)
        low, high = function.domain.to(x.dtype).unbind(1)
        return low + (high - low) * torch.rand(points, n, generator=maker, dtype=x.dtype, device=x.device)
    listed = isinstance(points, Sequence) and not isinstance(points, str) and len(points) > 0
    rows = [point if isinstance(point, Sequence) else [point] for point in points] if listed else []
    if not listed or any(len(row) != n or any(not number(v) for v in row) for row in rows):
        example = "[" + ", ".join(["[" + ", ".join(["1.0"] * n) + "]"] * 2) + "]"
        raise UserError(
            f"points={str(points)[:60]}: points is a whole number from 1 on, or a list of points of "
            f"{n} number{'s' * (n != 1)} each. Type for example points=1000, or points='{example}'"
        )
    return x.new_tensor(rows)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


# --- of a network ---


def of_rows(network: Network, layer: str | None, row: int, count: int, layers: tuple[Layer, ...] | None) -> ByInput:
    """The outputs, or those of a layer, by the inputs, at rows of the data."""
    one = network.row_response(row) if layer is None else network.layer_response(layer, row)
    shape = network.data.inputs.shape[1:]

    def together(x: Tensor) -> Tensor:
        return outputs_of(network, layer, x.reshape(len(x), *shape))

    points = network.rows[row : row + count]
    mixing = not points.is_meta and not maps.apart(together, network.rows[:2])
    convolves = maps.has_convolutions(network.module)
    rows, layers = (None, None) if mixing else (together, layers)
    whole_ = layer is None and not mixing and layers is None
    follow = partial(traced, network.module, network.data.inputs[0]) if whole_ else None
    f = Map(one.call, one.start, len(one.outputs), rows, layers, convolves=convolves, traced=follow)

    def at(k: int) -> Function:
        if layer is None:
            return network.row_response(row + k)
        return network.layer_response(layer, row + k)

    module = network.module if layer is None else nn.Sequential(*(inner.module for inner in layers or ()))
    return ByInput(one.name, f, points, one.variables, one.outputs, at, row, module)


def layers_of(network: Network, layer: str | None) -> tuple[Layer, ...] | None:
    """The layers of a plain sequence, up to ``layer``; those of the module itself, whose weights are the network's."""
    until = None if layer == network.name else layer
    return sequence(
        network.module, network.evaluate if until is None else network.module, network.data.inputs[:1], until
    )


def output_names(network: Network, layer: str) -> tuple[str, ...]:
    with torch.no_grad():
        found = network.activations(network.data.inputs[:1])[layer]
    return tuple(entries(layer, found.shape[1:]))


def outputs_of(network: Network, layer: str | None, x: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """Outputs (B, m), or what ``layer`` gives, for inputs x (B, *shape)."""
    if layer is None:
        return network.evaluate(x, parameters)
    return network.activations(x, parameters)[layer].reshape(len(x), -1)


def whole(function: Function) -> ByInput:
    """A function at its start, taken as it is."""
    f = of_function(function, together=False)
    return ByInput(function.name, f, function.start[None], function.variables, function.outputs, lambda k: function)


def batched(network: Network, row: int, batch: int) -> Function:
    """The outputs of ``batch`` rows, from ``row`` on, as a map of all their inputs: (batch d,) to (batch m,)."""
    one = network.row_response(row)
    return Function(
        name=network.name,
        call=lambda x: network.batch_outputs(x.reshape(batch, -1)).reshape(-1),
        start=network.rows[row : row + batch].reshape(-1),
        variables=tuple(f"{row + b}.{name}" for b in range(batch) for name in one.variables),
        outputs=tuple(f"{row + b}.{name}" for b in range(batch) for name in one.outputs),
    )
