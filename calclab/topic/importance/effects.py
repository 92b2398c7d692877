"""Which way a feature works, in which unit its importance is, and how the prediction depends on it.

*Direction*, in [-1, 1]: of slopes a = ∂t/∂x, Σ a / Σ |a| over the rows, 1 where t rises with the feature everywhere; of
shares of t, the correlation of a with x (what Lundberg et al. 2020 read off the colours of a summary plot). Of two
classes the target is the predicted one, and the direction is told of the second class.

*Partial dependence* (Friedman 2001, section 8.2): the mean over the rows of the prediction with feature j at v,

    p_j(v) = 1/N Σ_i y(x_i with x_ij = v),

at quantiles of the feature, so that where many values lie there are many points. How far it can be trusted: rows differ
in level anyhow, so the interval is that of the mean of y_i(v) - mean_v y_i(v), ± 1.96 of its standard errors. Where
features depend on each other, some of these rows are such as there are none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calclab.subject.network import Network
from calclab.topic.importance.attributions import Findings
from calclab.topic.importance.methods import SIZES, SLOPES
from calclab.topic.importance.problem import ImportanceProblem, evenly

POINTS, ROWS, SHOWN, CURVES = 25, 200, 4, 3  # of a curve; looked at; features and outputs shown
HEAD = ("feature", "output", "at", "mean", "low", "high")
Z = 1.96  # two-sided, 5 %


def direction(problem: ImportanceProblem, found: Findings) -> Tensor | None:
    """(C,), NaN where it cannot be told; None where no feature has one."""
    if found.rows is None or found.head not in problem.by_row or problem.of_units:
        return None
    head, a = found.head, found.rows[0]
    if head == "smoothgrad" or (head in SIZES and head not in SLOPES):
        return None
    if problem.target == "predicted" and (sides := second(problem)) is not None:
        a = a * sides[: len(a), None]
    elif problem.target == "predicted" and len(problem.outputs) > 1:
        return None
    single = alone(problem)
    if head in SLOPES:
        total = a.abs().sum(0)
        told = torch.where(total > 0, a.sum(0) / total, torch.nan)
    else:
        x = problem.inputs[: len(a)][:, [members[0] for members in members_of(problem)]]
        off, of = x - x.mean(0), a - a.mean(0)
        told = (off * of).sum(0) / (off.norm(dim=0) * of.norm(dim=0))
    return torch.where(single.to(told.device), told, torch.nan)


def second(problem: ImportanceProblem) -> Tensor | None:
    """1 for rows predicted to be of the second of two classes, -1 for others (N,); None where there are not two."""
    if not isinstance(problem.subject, Network) or len(problem.outputs) != 2:
        return None
    chosen = problem.predicted(problem.inputs)
    return None if chosen is None else torch.where(chosen == 1, 1.0, -1.0).to(problem.inputs)


def members_of(problem: ImportanceProblem) -> list[list[int]]:
    """The inputs that each feature was made of."""
    groups = problem.columns.groups
    if groups is None:
        return [[j] for j in range(problem.columns.width)]
    return [(groups == c).nonzero()[:, 0].tolist() for c in range(len(problem.columns.names))]


def alone(problem: ImportanceProblem) -> Tensor:
    """Which features are one input, (C,)."""
    return torch.tensor([len(members) == 1 for members in members_of(problem)])


def towards(problem: ImportanceProblem) -> tuple[str, str]:
    """What is said of a feature with direction 1 and -1."""
    if problem.target == "predicted" and len(problem.outputs) == 2:
        return f"speaks for {problem.outputs[1]}", f"speaks for {problem.outputs[0]}"
    return f"raises {problem.what}", f"lowers {problem.what}"


def unit(problem: ImportanceProblem) -> str:
    """The unit of importance, in words."""
    network = problem.subject if isinstance(problem.subject, Network) else None
    if problem.head == "permutation":
        assert network is not None
        score = problem.score(network)
        return {"loss": "loss", "accuracy": "accuracy", "r2": "r²"}[score]
    what = problem.of_what(problem.head) if network is not None or problem.outputs else problem.subject.name
    if what.startswith("predicted class"):
        what = f"output of the {what}"
    if problem.head not in SLOPES:
        return what
    standardised = network is not None and network.data.units is not None
    return f"{what} per {'standard deviation' if standardised else 'unit'} of the input"


# --- dependence ---


def dependence(problem: ImportanceProblem, importance: Tensor) -> Tensor | None:
    """Rows (feature, output, at, mean, low, high) in the user's units, ``POINTS`` for each of the most important
    features that are numbers and each output shown, NaN where there are fewer; None where there is none to be had."""
    shape = size(problem)
    if shape is None:
        return None
    network, members = problem.subject, members_of(problem)
    assert isinstance(network, Network)
    order = importance.argsort(descending=True, stable=True).tolist()
    rows, units = problem.inputs[evenly(len(problem.inputs), ROWS)], network.data.units
    found = importance.new_full((*shape, POINTS, len(HEAD)), math.nan)
    for f, c in enumerate([c for c in order if number(problem, members[c])][: shape[0]]):
        j = members[c][0]
        places = quantiles(problem.reference[:, j])
        points = rows.repeat(len(places), 1)
        points[:, j] = places.repeat_interleave(len(rows))
        y = predictions(network, points).reshape(len(places), len(rows), -1)
        mean, within = y.mean(1), y - y.mean(0)
        error = Z * within.std(1) / math.sqrt(len(rows)) if len(rows) > 1 else torch.full_like(mean, torch.nan)
        at = places if units is None else units.shift[j] + units.scale[j] * places
        for i, m in enumerate(outputs_shown(problem, y)):
            ends = mean[:, m] - error[:, m], mean[:, m] + error[:, m]
            head = at.new_full(at.shape, c), at.new_full(at.shape, m)
            found[f, i, : len(at)] = torch.stack([*head, at, mean[:, m], *ends], 1)
    return found.reshape(-1, len(HEAD))


def size(problem: ImportanceProblem) -> tuple[int, int] | None:
    """How many features and outputs are shown; None of functions, images, codes and units of a layer, and of models
    that compute their own loss."""
    network = problem.subject
    if not isinstance(network, Network) or problem.of_units or problem.columns.image is not None:
        return None
    if network.own_loss or not problem.reference.is_floating_point() or not len(problem.inputs):
        return None
    features = sum(number(problem, members) for members in members_of(problem))
    asked = problem.target != "predicted" and problem.what in problem.outputs
    outputs = 1 if asked or len(problem.outputs) <= 2 else CURVES
    return (min(SHOWN, features), outputs) if features else None


def number(problem: ImportanceProblem, members: list[int]) -> bool:
    """Whether a feature is a number that varies."""
    if len(members) != 1 or members[0] in problem.codes:
        return False
    x = problem.reference[:, members[0]]
    return not x.is_meta and bool((x != x[0]).any())


def quantiles(x: Tensor) -> Tensor:
    """The places at which a feature is put: every value where there are few, else quantiles from 2 % to 98 %."""
    values = torch.unique(x)
    if len(values) <= POINTS // 2:
        return values
    places = torch.linspace(0.02, 0.98, POINTS).mul(len(x) - 1).round().long()
    return torch.unique(x.sort().values[places.to(x.device)])


def predictions(network: Network, x: Tensor) -> Tensor:
    """Probabilities of classes, or the numbers predicted in the user's unit: (b, m)."""
    with torch.no_grad():
        y = torch.cat([network.batch_outputs(part) for part in torch.split(x, 1024)])
    if network.data.classification:
        return y.sigmoid() if y.shape[1] == 1 else y.softmax(1)
    units = network.data.target_units
    return y if units is None else units.shift + units.scale * y


def outputs_shown(problem: ImportanceProblem, y: Tensor) -> list[int]:
    """The output asked for; of two classes the second; else those that move most."""
    count = y.shape[-1]
    if problem.target != "predicted" and problem.what in problem.outputs:
        return [problem.outputs.index(problem.what)]
    if count <= 2:
        return [count - 1]
    moved = y.mean(1)
    return sorted((moved.amax(0) - moved.amin(0)).argsort(descending=True)[:CURVES].tolist())


def predicted(problem: ImportanceProblem) -> str:
    """What partial dependence is the mean of."""
    network = problem.subject
    assert isinstance(network, Network)
    return "probability predicted" if network.data.classification else "prediction"
