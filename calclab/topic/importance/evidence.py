"""Evidence for attributions: difference quotients of the gradients, completeness of what promises it, rows alone; of a
layer's units, what is Captum's against passes of the lab's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Evidence, Function, Verdict
from calclab.numerics.agreement import identity
from calclab.numerics.operators import dense_jacobian, value_and_gradient
from calclab.numerics.tolerance import tolerance_of
from calclab.numerics.verify import check_gradient, check_jacobian, rounded
from calclab.subject.network import Network
from calclab.topic.importance.methods import COMPLETE
from calclab.topic.importance.problem import ImportanceProblem

SMALL = 1e-4  # of Σ|values|: the most that a quadrature may miss by having ended too early
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}  # of integrated gradients, where none is asked for
LOOSE = 5e-2  # of a sum over a path that bends between its points, as a part of its largest term and of the change


def of_row(
    problem: ImportanceProblem, methods: Sequence[str], block: Mapping[str, Tensor], k: int, place: int
) -> list[Evidence]:
    """Of row k, which is at ``place`` in its block."""
    found: list[Evidence] = []
    if "gradients" in block:
        found += of_gradient(problem, block["gradients"], k, place)
    for m, name in enumerate(methods):
        if name in COMPLETE:
            row = complete(problem, name, block["values"][m, place], block["gap"][m, place], k)
            found.append(
                short_of_tolerance(problem, row, block["values"][m, place], k) if block["unsettled"][m] else row
            )
        elif name in OF_LAYERS:
            found += OF_LAYERS[name](problem, block["values"][m, place], block["gap"][m, place], k)
    return found


def complete(problem: ImportanceProblem, name: str, a: Tensor, gap: Tensor, k: int) -> Evidence:
    """Σ a against F(x) - F(baseline). Integrated gradients promise it to their tolerance, which is that of an entry."""
    total, rule = a.sum(), tolerance_of(a.dtype)
    tol = 0.0 if name == "shapley" else problem.tol or TOLERANCE.get(a.dtype, 1e-2)
    allowed = float(a.abs().max()) * len(a) * (tol + rule.identity) + rule.identity
    return identity(f"Σ {name}", "completeness: F(x) - F(baseline)", total, total - gap, k, tolerance=allowed)


def short_of_tolerance(problem: ImportanceProblem, row: Evidence, a: Tensor, k: int) -> Evidence:
    """The row of values (w,) whose quadrature has ended above its tolerance: a small gap is then no contradiction. A
    large one is if the gradient at row k is wrong; else F leaps on the way, or bends within less than was halved."""
    if row.verdict is not Verdict.REFUTED:
        return row
    if row.gap > SMALL * float(a.abs().sum()):
        function = scored(problem, k)
        slope = value_and_gradient(function.call, function.start)[1]
        if any(found.verdict is Verdict.REFUTED for found in check_gradient(function, function.start, slope, k)):
            return row
        note = "tolerance not reached: on the way F leaps, or bends within less than could be halved (routing, a norm "
        return replace(row, verdict=Verdict.INCONCLUSIVE, note=note + "of nothing but zeros). Choose another baseline")
    inside = getattr(problem.subject, "inside", None)
    if inside is not None:
        reason = f"the network computes in {str(inside).removeprefix('torch.')} inside: its rounding explains this"
        return replace(row, verdict=Verdict.SUSPECT, note=reason)
    note = "tolerance not reached: kinks on the way, and no halving between them was fine enough. Type a larger tol"
    return replace(row, verdict=Verdict.INCONCLUSIVE, note=note)


def of_gradient(problem: ImportanceProblem, gradients: Tensor, k: int, place: int) -> list[Evidence]:
    g, subject = gradients[place], problem.subject
    if isinstance(subject, Function) and not subject.scalar:
        J = dense_jacobian(subject.call, subject.start)
        row = identity(f"∂{problem.target}/∂x", "row of the Jacobian", g, J[problem.place], k)
        return [row, *check_jacobian(subject, subject.start, J, k)]
    function = scored(problem, k)
    # what matters is an error in the mean, so gaps are held against the largest gradient among its neighbours
    scale = float(gradients.norm(dim=1).max())
    found = check_gradient(function, function.start, g, k, scale=scale if math.isfinite(scale) else 0.0)
    if isinstance(subject, Network):
        alone = value_and_gradient(function.call, function.start)[1]
        method, allowed = "alone = in its block (rows do not mix)", rounding(subject, function.start, g)
        found.append(identity("gradient of a sample", method, g, alone, k, tolerance=allowed))
    return rounded(function, found)


def scored(problem: ImportanceProblem, k: int) -> Function:
    """What row k is scored by, as a function of its input."""
    return problem.subject if isinstance(problem.subject, Function) else of_sample(problem, k)


def of_sample(problem: ImportanceProblem, k: int) -> Function:
    """t of row k as a function of its input; the predicted class is held fixed at the one predicted there."""
    network = problem.subject
    assert isinstance(network, Network)
    x, labels = network.rows[k], None if problem.labels is None else problem.labels[k : k + 1]
    with torch.no_grad():
        target = problem.chosen(network.batch_outputs(x[None]), labels)
    call: Callable[[Tensor], Tensor] = lambda x: target.values(network.batch_outputs(x[None]), slice(0, 1))[0]  # noqa: E731
    name = f"{problem.target} of sample {k}"
    return Function(name=name, call=call, start=x, variables=problem.columns.inputs, inside=network.inside)


def rounding(network: Network, x: Tensor, g: Tensor) -> float:
    """The rounding to forgive in g: relative to it, or to the outputs' own gradients, of which the loss's is a
    difference that nearly cancels where the network is sure of its class.
    """
    leaf = x.detach().clone().requires_grad_()
    outputs = network.batch_outputs(leaf[None])[0]
    signs = 1 - 2 * (torch.arange(len(outputs), device=x.device) % 2).to(x.dtype)
    (own,) = torch.autograd.grad(outputs @ signs, leaf, allow_unused=True, materialize_grads=True)
    rule = tolerance_of(x.dtype)
    found = torch.maximum(rule.identity * g.abs().max(), 64 * rule.eps * own.norm())
    return float(found) if bool(found.isfinite()) else 0.0


def of_curve(parts: Tensor, i: int, last: int, k: int) -> list[Evidence]:
    """The ends of the curves (M + 1, 2): nothing deleted is the rows themselves, all deleted the baseline."""
    if i not in (0, last) or not bool(parts.isfinite().all()):
        return []
    ends = torch.ones_like(parts)
    ends[:, 1 if i == 0 else 0] = 0.0
    return [identity("deletion and insertion", f"{'none' if i == 0 else 'all'} deleted: 1 and 0", parts, ends, k)]


def of_nothing_new(found: Tensor, k: int) -> list[Evidence]:
    """The randomisation test before its first layer (M,): the network, copied, is the same network."""
    if not bool(found.isfinite().all()):
        return []
    return [identity("randomisation test", "no layer drawn anew: 1", found, torch.ones_like(found), k)]


# --- inside a network ---


def response(problem: ImportanceProblem, k: int) -> Function:
    """What the layer gives, flat, of row k."""
    assert isinstance(problem.subject, Network)
    assert problem.layer is not None
    return problem.subject.layer_response(problem.layer, k)


def of_activation(problem: ImportanceProblem, a: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    function = response(problem, k)
    with torch.no_grad():
        found = function.call(function.start)
    return [identity("layer_activation", "the layer's output in a pass of the lab's own", a, found, k)]


def of_neuron(problem: ImportanceProblem, g: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    whole = response(problem, k)
    place = whole.outputs.index(problem.unit)
    function = Function(
        name=problem.unit, call=lambda x: whole.call(x)[place], start=whole.start, variables=problem.columns.inputs
    )
    return check_gradient(function, function.start, g, k)


def of_path(problem: ImportanceProblem, a: Tensor, gap: Tensor, k: int) -> list[Evidence]:
    """Σ over the units is F(x) - F(baseline), as far as the points on the path tell, and where nothing goes round the
    layer: a gap speaks against one of the two, not against the values."""
    total = a.sum()
    allowed = LOOSE * float(torch.maximum(a.abs().max(), (total - gap).abs()))
    how = f"completeness over {problem.layer}: F(x) - F(baseline), roughly"
    found = identity("Σ over units", how, total, total - gap, k, tolerance=allowed)
    if found.verdict is Verdict.REFUTED:
        note = "the path bends between its points, or not all that reaches the output goes through the layer"
        found = replace(found, verdict=Verdict.INCONCLUSIVE, note=note)
    return [found]


Check = Callable[[ImportanceProblem, Tensor, Tensor, int], list[Evidence]]
OF_LAYERS: dict[str, Check] = {
    "layer_activation": of_activation,
    "neuron_gradient": of_neuron,
    "conductance": of_path,
    "layer_integrated_gradients": of_path,
}
