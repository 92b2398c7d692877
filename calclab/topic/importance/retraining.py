"""The same network once more: trained again on other rows, drawn anew layer by layer, trained without some columns.

Does importance belong to the data, or to one training of it? A network trained from other weights on the rows outside a
fold gives both another ranking and errors on rows that it has not seen. Is it importance at all? After its layers were
drawn anew, from the output to the input, it must be another (Adebayo et al. 2018, section 3.1). Do the columns that are
called important carry what there is to learn? Without them, trained again, the score must fall (Hooker et al. 2019,
section 3).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Data, Function
from calclab.subject import again
from calclab.subject.network import Network
from calclab.topic.importance.attributions import attributions
from calclab.topic.importance.deletion import course
from calclab.topic.importance.methods import OF_ONE_TRAINING
from calclab.topic.importance.problem import ImportanceProblem, evenly
from calclab.topic.importance.ranks import rank_correlation

FEW = 5  # rows outside a fold below which nothing is trained on them
RANDOMISED = 64  # rows that the randomisation test looks at


def no_retraining(subject: Function | Network) -> str:
    """Why the network cannot be trained again as it was; empty when it can."""
    if not isinstance(subject, Network):
        return "a function is not trained"
    if not subject.training:
        return "the network was not trained here (train=0, or its weights are given)"
    if subject.loss_name == "sum":
        return "there are no targets to learn"
    if len(subject.rows) < 2 * FEW:
        return f"{len(subject.rows)} rows are too few to hold some out"
    if stubborn := again.stubborn(subject):
        return f"{stubborn[0]} has parameters and no reset_parameters() that draws them"
    return ""


def parted(network: Network, i: int, count: int, seed: int) -> tuple[Data, Data]:
    """The rows outside the i-th fold, and those within."""
    data = network.data
    parts = parts_of(data, count)
    fold = again.folds(data, parts, seed)
    within = fold == i % parts
    return data.take((~within).nonzero()[:, 0]), data.take(within.nonzero()[:, 0])


def parts_of(data: Data, count: int) -> int:
    """How many folds the rows are parted into, where the network is trained ``count`` times."""
    return min(count if count > 2 else again.FOLDS, len(data.inputs) // 2)


def retrained(problem: ImportanceProblem, i: int, count: int) -> dict[str, Tensor]:
    """Of the i-th of ``count`` networks trained again: ``importance`` (C,) by the first method on the rows of ``part``;
    ``wrong`` and ``guess`` (b,), how wrong it and a guess are on rows that it has not seen. NaN where training left the
    finite numbers, and for the importance of units, which are other ones after another training."""
    assert isinstance(problem.subject, Network)
    network, method, part = problem.subject, problem.head, problem.part
    learned, held = parted(network, i, count, problem.seed)
    other = again.train(network, learned, network.training, again.drawn(problem.seed, 4, i))
    guess = again.guesses(learned, held)
    nothing = torch.full((len(problem.features.names),), torch.nan, dtype=guess.dtype, device=guess.device)
    if other is None:
        return {"importance": nothing, "wrong": torch.full_like(guess, torch.nan), "guess": guess}
    wrong = again.errors(other, held)
    if method in OF_ONE_TRAINING:
        return {"importance": nothing, "wrong": wrong, "guess": guess}
    x, labels = problem.inputs[part], problem.labels_of(part)
    values = attributions(problem, method, x, labels, network=replace(other, data=network.data)).values
    values = problem.columns.by_feature(values, method)
    sizes = values[0] if method == "permutation" else values.abs().mean(0)
    return {"importance": sizes, "wrong": wrong, "guess": guess}


def randomised(problem: ImportanceProblem, rows: Tensor, count: int) -> Tensor:
    """Rank correlation (M,) of |a| with what it is once the last ``count`` layers are drawn anew, on average over
    rows. ``rows`` (M, N, C) are the attributions of the network as it is."""
    assert isinstance(problem.subject, Network)
    chosen = problem.part[evenly(len(problem.part), RANDOMISED)]
    layers = again.resettable(problem.subject)[:count]
    network = again.with_new(problem.subject, layers, again.drawn(problem.seed, 2))
    x, labels = problem.inputs[chosen], problem.labels_of(chosen)
    fixed = problem.predicted(x)
    found = []
    for name, before in zip(problem.by_row, rows[:, chosen], strict=True):
        after = attributions(problem, name, x, labels, network=network, fixed=fixed).values
        after = problem.features.by_feature(after, name)
        found.append(rank_correlation(before.abs(), after.abs()).nanmean())
    return torch.stack(found)


def without(problem: ImportanceProblem, rows: Tensor, part: float, i: int) -> tuple[Tensor, Tensor]:
    """Held-out scores of networks trained and tested without a ``part`` of the columns of each row, which are set to
    their means (codes to the commonest): the most important by ``rows`` (N, C), and any others (Hooker et al. 2019,
    section 3)."""
    network = problem.subject
    assert isinstance(network, Network)
    count = max(1, round(part * len(problem.columns.names)))
    way = course(problem, problem.reference, problem.labels)
    by_size = way.order(rows, signed=False)
    mean, found = problem.whole_codes("mean"), []
    for order in (by_size, way.at_random(again.drawn(problem.seed, 5, i))[0]):
        first = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
        first.scatter_(-1, order[:, :count], True)
        inputs = torch.where(problem.columns.spread(first), mean, problem.reference).reshape(network.data.inputs.shape)
        changed = replace(network, data=replace(network.data, inputs=inputs))
        learned, held = parted(changed, 0, again.FOLDS, problem.seed)
        other = again.train(changed, learned, network.training, again.drawn(problem.seed, 6, i))
        wrong = again.guesses(learned, held) * torch.nan if other is None else again.errors(other, held)
        found.append(score(network, wrong, again.guesses(learned, held)))
    return found[0], found[1]


def score(network: Network, wrong: Tensor, guess: Tensor) -> Tensor:
    """Accuracy of classes, r² of numbers."""
    return 1 - wrong.mean() if network.data.classification else 1 - wrong.sum() / guess.sum()
