"""What the trust report looks at: the network trained again, curves, what is fixed while layers are drawn anew."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Data, Function
from calclab.subject import again
from calclab.subject.network import Network
from calclab.topic.importance.asked import Asked
from calclab.topic.importance.curves import Course
from calclab.topic.importance.methods import OF_ONE_TRAINING

FEW = 5  # rows outside a fold below which nothing is trained on them
LEAST = 10  # rows for which intervals are given
PAIRS = 3  # of correlated columns, named
NUMBERS = 2**22  # inputs beyond which correlations are not looked for


def evenly(count: int, most: int) -> Tensor:
    """The numbers of at most ``most`` rows out of ``count``, evenly spaced, the first among them."""
    return torch.arange(0, count, -(-count // most)) if count else torch.arange(0)


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


def retrained(asked: Asked, method: str, looked: tuple[Tensor, Tensor | None], i: int, count: int) -> dict[str, Tensor]:
    """``importance`` (C,) of the i-th network trained again, on the rows ``looked`` at; ``wrong`` and ``guess`` (b,),
    how wrong it and a guess are on rows that it has not seen. NaN where training left the finite numbers, and
    for the importance of units, which are other ones after another training."""
    assert isinstance(asked.subject, Network)
    network = asked.subject
    learned, held = parted(network, i, count, asked.seed)
    other = again.train(network, learned, network.training, again.drawn(asked.seed, 4, i))
    guess = again.guesses(learned, held)
    nothing = torch.full((len(asked.features.names),), torch.nan, dtype=guess.dtype, device=guess.device)
    if other is None:
        return {"importance": nothing, "wrong": torch.full_like(guess, torch.nan), "guess": guess}
    wrong = again.errors(other, held)
    if method in OF_ONE_TRAINING:
        return {"importance": nothing, "wrong": wrong, "guess": guess}
    values = asked.look(method, *looked, network=replace(other, data=network.data)).values
    values = asked.columns.by_feature(values, method)
    sizes = values[0] if method == "permutation" else values.abs().mean(0)
    return {"importance": sizes, "wrong": wrong, "guess": guess}


def predicted(asked: Asked, x: Tensor) -> Tensor | None:
    """The outputs (b,) predicted for rows x, to be held fixed; None where the target is no prediction."""
    if not isinstance(asked.subject, Network) or asked.target != "predicted":
        return None
    with torch.no_grad():
        return asked.subject.batch_outputs(x).argmax(1)


def course(asked: Asked, x: Tensor, labels: Tensor | None) -> Course:
    """The way between the rows x (b, d) and the baseline, along which columns are deleted."""
    network = asked.subject
    assert isinstance(network, Network)
    with torch.no_grad():
        target = asked.chosen(network.batch_outputs(x), labels)

    def values(points: Tensor) -> Tensor:
        with torch.no_grad():
            return target.values(network.batch_outputs(points), slice(0, len(x))).detach()

    return Course(x, asked.origin, values, asked.columns.spread, len(asked.columns.names))


def without(asked: Asked, method: str, rows: Tensor, part: float, i: int) -> tuple[Tensor, Tensor]:
    """Held-out scores of networks trained and tested without a ``part`` of the columns of each row, which are set to
    their means (codes to the commonest): the most important by ``rows`` (N, C), and any others (Hooker et al. 2019,
    section 3)."""
    network = asked.subject
    assert isinstance(network, Network)
    count = max(1, round(part * len(asked.columns.names)))
    way = course(asked, asked.reference, asked.labels)
    by_size = way.order(rows, signed=False)
    mean, found = asked.whole_codes("mean"), []
    for order in (by_size, way.at_random(again.drawn(asked.seed, 5, i))[0]):
        first = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
        first.scatter_(-1, order[:, :count], True)
        inputs = torch.where(asked.columns.spread(first), mean, asked.reference).reshape(network.data.inputs.shape)
        changed = replace(network, data=replace(network.data, inputs=inputs))
        learned, held = parted(changed, 0, again.FOLDS, asked.seed)
        other = again.train(changed, learned, network.training, again.drawn(asked.seed, 6, i))
        wrong = again.guesses(learned, held) * torch.nan if other is None else again.errors(other, held)
        found.append(score(network, wrong, again.guesses(learned, held)))
    return found[0], found[1]


def score(network: Network, wrong: Tensor, guess: Tensor) -> Tensor:
    """Accuracy of classes, r² of numbers."""
    return 1 - wrong.mean() if network.data.classification else 1 - wrong.sum() / guess.sum()


def alike(asked: Asked, bound: float) -> str:
    """A note on columns that are so strongly correlated that no method can tell which of them matters; else empty."""
    x, columns = asked.reference, asked.columns
    if columns.groups is not None:  # columns of one input only
        single = torch.bincount(columns.groups, minlength=len(columns.names)) == 1
        x = x[:, single[columns.groups]]
        names = [name for name, alone in zip(columns.names, single.tolist(), strict=True) if alone]
    else:
        names = list(columns.names)
    if len(x) < 3 or columns.image is not None or not 1 < x.shape[1] <= 1000 or x.numel() > NUMBERS:
        return ""
    off = x - x.mean(0)
    norms = off.norm(dim=0)
    strength = torch.where(norms > 0, off / norms, 0.0)
    strength = (strength.T @ strength).abs().triu(1)
    order = strength.flatten().argsort(descending=True, stable=True)
    pairs = [divmod(int(p), len(names)) for p in order[: int((strength > bound).sum())]]
    if not pairs:
        return ""
    shown = ", ".join(f"{names[a]} with {names[b]} ({float(strength[a, b]):.3f})" for a, b in pairs[:PAIRS])
    more = f" and {len(pairs) - PAIRS} pairs more" if len(pairs) > PAIRS else ""
    return f"columns so alike that they share their importance, by correlation: {shown}{more}"
