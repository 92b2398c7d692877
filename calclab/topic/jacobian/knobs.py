"""From the knobs to what is asked: of a function or of a network; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import Layer, Map, maps, of_function, sequence, traced
from calclab.subject.network import Network, entries
from calclab.topic import words
from calclab.topic.jacobian.asked import Asked, ByInput, ByParameters, outputs_of


def asked(
    subject: Function | Network,
    *,
    by: str,
    row: int,
    rows: int | None,
    batch: int | None,
    layer: str | None,
    points: Any,
    seed: int,
) -> Asked:
    """What the knobs ask for; UserError where they do not fit the subject."""
    if not isinstance(subject, Network):
        refused = {"by": by != "input", "row": row != 0, "rows": rows not in (1, None), "layer": layer, "batch": batch}
        if wrong := [key for key, set_ in refused.items() if set_]:
            raise UserError(
                f"{', '.join(wrong)}: row, rows, layer, batch and by are for networks, and {subject.name} is a "
                "function. Leave them out"
            )
        return of_points(subject.response(), points, seed)
    if points is not None:
        raise UserError(
            f"points is for functions, and {subject.name} is a network. Type row=3, or rows=null for all rows"
        )
    count = check_rows(subject, row, rows, batch)
    known = (subject.name, *dict(subject.module.named_modules()))
    if layer is not None and layer not in known:
        names = [name for name, _ in subject.layers()]
        raise UserError(f"layer={layer}: {subject.name} has none. {words.nearest(layer, names)}")
    if batch is not None:
        if layer is not None or by != "input":
            other = "layer" if layer is not None else f"by={by}"
            raise UserError(
                f"batch and {other} do not go together: the batch array is outputs by inputs. Leave one out"
            )
        return whole(batched(subject, row, batch))
    if layer is not None:
        subject.layer_response(layer, row)  # a layer that is never called is refused now and not at the first step
    layers = layers_of(subject, layer)
    outputs = subject.outputs if layer is None else output_names(subject, layer)
    title = subject.name if layer is None else f"{layer} of {subject.name}"
    if by == "parameters":
        if not subject.shapes:
            raise UserError(f"by=parameters: {subject.name} has no trainable parameters. Type by=input")
        return ByParameters(title, subject, layer, row, count, subject.variables, outputs, layers)
    return of_rows(subject, layer, row, count, layers)


def check_rows(network: Network, row: int, rows: int | None, batch: int | None) -> int:
    """How many rows there are to look at from ``row`` on."""
    there, data = len(network.rows), network.data.name
    if batch is not None and rows not in (1, None):
        raise UserError(f"batch={batch} and rows={rows}: batch looks at so many rows as one. Leave one out")
    wanted = batch or rows or 1
    if row + wanted > there:
        fewer = f"batch={there}" if batch else f"rows={there}"
        advice = f"row={there - wanted}" if wanted <= there else f"row=0 {fewer}"
        given = f"row={row}" + (f" batch={batch}" if batch else f" rows={rows}" if wanted > 1 else "")
        raise UserError(f"{given}: {data} has {there} rows, 0 to {there - 1}. Type for example {advice}")
    if batch is None:
        check_alone(network)
    return there - row if rows is None and batch is None else wanted


def check_alone(network: Network) -> None:
    """UserError where a network takes no row by itself."""
    x = network.data.inputs
    if x.is_meta:
        return
    try:
        with torch.no_grad():
            network.evaluate(x[:1])
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{network.name} takes no row by itself ({reason}). Type by=input batch=10 to look at so many rows as one"
        ) from error


def of_rows(network: Network, layer: str | None, row: int, count: int, layers: tuple[Layer, ...] | None) -> ByInput:
    """The outputs, or those of a layer, by the inputs, at rows of the data."""
    one = network.row_response(row) if layer is None else network.layer_response(layer, row)
    shape = network.data.inputs.shape[1:]

    def together(x: Tensor) -> Tensor:
        return outputs_of(network, layer, x.reshape(len(x), *shape))

    points = network.rows[row : row + count]
    mixing = not points.is_meta and len(network.rows) > 1 and not maps.apart(together, network.rows[:2])
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
