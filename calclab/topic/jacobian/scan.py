"""topic=jacobian: what is asked for, held against the subject, and the scan that answers it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import maps
from calclab.schema.topic import Jacobian as Knobs
from calclab.subject.network import Network
from calclab.subject.network.embedding import behind_embedding
from calclab.topic import words
from calclab.topic.chain.layers import Layers
from calclab.topic.jacobian.layer_scan import LayerScan
from calclab.topic.jacobian.parameters import ByParameters
from calclab.topic.jacobian.point_scan import PointScan
from calclab.topic.jacobian.problem import (
    JacobianProblem,
    batched,
    layers_of,
    of_points,
    of_rows,
    output_names,
    whole,
)


def jacobian(subject: Function | Network, *, seed: int = 0, **knobs: Any) -> PointScan | LayerScan:
    """J_ij = ∂f_i/∂x_j, (m, n), with singular values σ descending and κ = σ_1 / σ_min(m, n); ``knobs`` are the topic's.

    Of a function: at its start or at ``points``. Of a network: the outputs (or what ``layer`` gives) ``by`` its input
    or its parameters, for ``rows`` rows from ``row`` on, each by itself; or ``by`` = layers, each layer by its own
    input. With ``batch`` = B rows at once the array is (B, m, B, n), written as a (B m, B n) matrix: rows do not mix,
    so it is block-diagonal. Raises UserError for knobs that do not go together.
    """
    asked = Knobs(seed=seed, **knobs)
    subject = subject if asked.by == "parameters" else behind_embedding(subject)
    scan = by_layers(subject, asked, seed) if asked.by == "layers" else by_points(subject, asked, seed)
    scan.refuse()  # now, and not at the first step
    return scan


def by_points(subject: Function | Network, asked: Knobs, seed: int) -> PointScan:
    problem = problem_of(
        subject,
        by=asked.by,
        row=asked.row,
        rows=asked.rows,
        batch=asked.batch,
        layer=asked.layer,
        points=asked.points,
        seed=seed,
    )
    return PointScan(
        problem=problem,
        threshold=asked.threshold,
        limit=asked.limit,
        memory=asked.memory * 2**20,
        way=asked.way,
        batch=asked.batch,
        weight=only_weight(subject) if asked.layer is None and asked.by == "input" else None,
        seed=seed,
    )


def by_layers(subject: Function | Network, asked: Knobs, seed: int) -> LayerScan:
    if not isinstance(subject, Network):
        raise UserError(f"by=layers is for networks, and {subject.name} is a function. Leave it out")
    given = {"layer": asked.layer, "batch": asked.batch, "points": asked.points}
    if wrong := [key for key, value in given.items() if value is not None]:
        raise UserError(f"by=layers and {', '.join(wrong)} do not go together: every layer is looked at. Leave it out")
    if asked.way != "auto":
        raise UserError(f"by=layers way={asked.way}: every layer has a way of its own. Leave way out")
    count = check_rows(subject, asked.row, asked.rows, None)
    if count > 1 and not maps.apart(subject.batch_outputs, subject.rows[:2]):
        raise UserError(
            f"by=layers rows={asked.rows}: {subject.name} mixes rows (batch statistics?), and no row is by "
            "itself. Leave rows out"
        )
    return LayerScan(subject, asked.row, count, asked.threshold, seed)


def only_weight(subject: Function | Network) -> Tensor | None:
    """The weight of a network that is one linear layer: there the Jacobian by the input is known."""
    if not isinstance(subject, Network):
        return None
    scan = Layers(subject)
    tape = scan.tape
    real = [i for i, m in enumerate(tape.modules) if not isinstance(m, nn.Flatten | nn.Identity)]
    if not tape.sequential or len(real) != 1 or not isinstance(tape.modules[real[0]], nn.Linear):
        return None
    own = subject.parameters()
    return next((own[name] for name in scan.own[real[0]] if name.rpartition(".")[2] == "weight"), None)


def problem_of(
    subject: Function | Network,
    *,
    by: str,
    row: int,
    rows: int | None,
    batch: int | None,
    layer: str | None,
    points: Any,
    seed: int,
) -> JacobianProblem:
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
