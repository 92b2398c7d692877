"""Why a walk left the finite numbers: whether there were none to begin with, a step went too far, or lr had no part."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core.rows import windows
from calclab.numerics.kinks import nowhere
from calclab.numerics.measured import MOST
from calclab.numerics.operators import loss_and_gradient
from calclab.numerics.origin import origins
from calclab.numerics.verify import known
from calclab.subject.network import Network
from calclab.subject.scores import predictions
from calclab.topic import words
from calclab.topic.descent.advice import smaller
from calclab.topic.descent.walk import Walk

GROWN = 1e3  # times 1 + ‖x₀‖: a walk that has come so far has blown up
SHORTER = (0.5, 0.1, 0.01)  # of the last step: whether one of them would have stayed among the numbers


def lost(walk: Walk) -> tuple[str, str]:
    """Why, and what to do."""
    f0, g0 = (torch.tensor(number) for number in walk.start)
    innocent = "lr is not the cause"
    if not bool(f0.isfinite()):
        why = undefined(walk, walk.function.start, f0)
        return f"there is no number to start from: {why}. {innocent}", elsewhere(walk)
    if not bool(g0.isfinite()):
        function, x = walk.function, walk.function.start
        few = walk.network is None and len(x) <= MOST
        gaps = known(function, x, 1, loss_and_gradient(function, x)[1]) if few else {}
        why = f"its gradient {nowhere(gaps)}"
        return f"the loss is {words.number(f0)} at the start, and {why}. {innocent}", elsewhere(walk)
    if not bool(walk.move.isfinite().all()):
        why = f"the last step of {type(walk.rule).__name__} is no number, though the gradient before it was one: "
        return f"{why}a singular matrix, or a division by zero in the rule. {innocent}", "take another optimizer"
    before = walk.x - walk.move
    f, _ = loss_and_gradient(walk.function, before)
    grown = float(f) - float(f0) > max(abs(float(f0)), 1.0)
    if grown or bool(before.norm() > GROWN * (1 + walk.function.start.norm())):
        return f"the loss went from {words.number(f0)} to {words.number(f)} before that", smaller(walk)
    if any(bool(loss_and_gradient(walk.function, before + t * walk.move)[0].isfinite()) for t in SHORTER):
        why = (
            f"its last step, of length {words.number(walk.move.norm())}, led from the loss {words.number(f)} to where "
            f"there is none: {undefined(walk, walk.x, walk.loss)}. A shorter step would have stayed"
        )
        return why, f"{smaller(walk)}, or keep to where it is a number by line_search=armijo"
    why = (
        f"it came to the edge of where the loss is a number, {words.number(f)} there, and no step on, however short, "
        f"is: {undefined(walk, walk.x, walk.loss)}. {innocent}"
    )
    return why, elsewhere(walk)


def elsewhere(walk: Walk) -> str:
    if walk.network is not None:
        return "see to the rows, the weights or the loss named"
    return "type another function.at=..."


def undefined(walk: Walk, x: Tensor, value: Tensor) -> str:
    """What is no number at x."""
    if walk.network is not None:
        return culprit(walk.network, x)
    what = "undefined" if bool(value.isnan()) else "beyond the largest number"
    return f"{walk.function.name} is {what} there"


def culprit(network: Network, θ: Tensor) -> str:
    """The first on the way from data to loss that is no finite number."""
    data = network.data
    if not bool(θ.isfinite().all()):
        return f"the weights hold numbers that are not finite, such as {network.variables[first(~θ.isfinite())]}"
    for name, part in (("inputs", data.inputs), ("targets", data.targets)):
        if (rows := bad(part)) is not None:
            return f"the {name} of {named(rows)} are not finite; leave them out"
    outputs = predictions(network, θ, data.inputs)
    if (rows := bad(outputs)) is not None:
        where = began(network, θ, rows)
        return (
            f"the outputs of {named(rows)} are not finite, though the weights and inputs are: "
            f"{where or 'something overflows, or takes a logarithm or a root, inside the network'} "
            "(large inputs: data.standardize=true)"
        )
    with torch.no_grad():
        parameters = network.unflatten(θ)
        pieces = windows(data.inputs, data.targets)
        losses = torch.cat([network.row_losses(parameters, data.inputs[w], data.targets[w]) for w in pieces])
    if (rows := bad(losses)) is not None:
        return (
            f"the outputs are numbers and the loss of {named(rows)} is not: {network.loss_name} does not take such "
            "outputs (a logarithm of what is not positive, an overflow). Take another loss, or outputs that stay in "
            "its domain"
        )
    return "outputs and losses are numbers, and what is made of them is not"


def began(network: Network, θ: Tensor, rows: Tensor) -> str:
    """Where the numbers of the first of these rows stop being finite: "it begins in 2 (ReLU6), exp: it overflows"."""
    few = network.data.inputs[rows[:1]]
    found = origins(network.module, lambda: network.evaluate(few, network.unflatten(θ)).sum(), []).forward
    return "" if found is None else f"it begins in {found.place}, {found.operation}: {found.why}"


def bad(values: Tensor) -> Tensor | None:
    """The numbers of the rows of ``values`` (B, ...) that are not finite; None where all are."""
    found = [~values[w].isfinite().reshape(w.stop - w.start, -1).all(1) for w in windows(values)]
    rows = torch.cat(found).nonzero()[:, 0]
    return rows if len(rows) else None


def first(mask: Tensor) -> int:
    return int(mask.nonzero()[0])


def named(rows: Tensor) -> str:
    listed = words.listing([str(int(row)) for row in rows[:5]])
    return f"{len(rows)} rows ({listed}{', ...' if len(rows) > 5 else ''})" if len(rows) > 1 else f"row {listed}"
