"""Evidence for what is said of a network's inside: Captum's values against the lab's own passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Evidence, Function, Verdict
from calclab.numerics.verify import check_gradient, identity
from calclab.subject.network import Network
from calclab.topic.importance.asked import Asked

LOOSE = 5e-2  # of a sum over a path that bends between its points, as a part of its largest term and of the change


def response(asked: Asked, k: int) -> Function:
    """What the layer gives, flat, of row k."""
    assert isinstance(asked.subject, Network)
    assert asked.layer is not None
    return asked.subject.layer_response(asked.layer, k)


def of_activation(asked: Asked, a: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    function = response(asked, k)
    with torch.no_grad():
        again = function.call(function.start)
    return [identity("layer_activation", "the layer's output in a pass of the lab's own", a, again, k)]


def of_neuron(asked: Asked, g: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    whole = response(asked, k)
    place = whole.outputs.index(asked.unit)
    function = Function(
        name=asked.unit, call=lambda x: whole.call(x)[place], start=whole.start, variables=asked.columns.inputs
    )
    return check_gradient(function, function.start, g, k)


def of_path(asked: Asked, a: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    """Σ over the units is F(x) - F(baseline), as far as the points on the path tell, and where nothing goes round the
    layer: a gap speaks against one of the two, not against the values."""
    total = a.sum()
    allowed = LOOSE * float(torch.maximum(a.abs().max(), (total - gap).abs()))
    how = f"completeness over {asked.layer}: F(x) - F(baseline), roughly"
    found = identity("Σ over units", how, total, total - gap, k, tolerance=allowed)
    if found.verdict is Verdict.REFUTED:
        note = "the path bends between its points, or not all that reaches the output goes through the layer"
        found = replace(found, verdict=Verdict.INCONCLUSIVE, note=note)
    return [found]


Check = Callable[[Asked, Tensor, Tensor, int], list[Evidence]]
CHECKS: dict[str, Check] = {
    "layer_activation": of_activation,
    "neuron_gradient": of_neuron,
    "conductance": of_path,
    "layer_integrated_gradients": of_path,
}
