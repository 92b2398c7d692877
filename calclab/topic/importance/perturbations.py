"""A network, or its inputs, changed on purpose: what becomes of the target, of the score, and of the importance.

*Deletion and insertion* (Petsiuk, Das and Saenko 2018, section 3.2): columns of a row give way to the baseline in the
order that an attribution says. A target may move up or down from the baseline, so the curve tells which part of the way
is left,

    Σ_r s_r (F(x_r') - F(b)) / Σ_r |F(x_r) - F(b)|,    s_r the sign of F(x_r) - F(b):

1 for the rows as they are, 0 at the baseline. A good order lets it fall early when columns are deleted, and rise early
when they are put back.

*Training again* asks whether importance belongs to the data or to one training of it: a network trained from other
weights, on the rows outside a fold, gives another ranking, and errors on rows that it has not seen.

*Randomisation* (Adebayo et al. 2018, section 3.1): after layers were drawn anew, from the output to the input,
importance must be another.

*Removal* (Hooker et al. 2019, section 3): without the columns called important, trained again, the score must fall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Data, Function
from calclab.subject import retraining
from calclab.subject.network import Network
from calclab.topic.importance.attributions import attributions
from calclab.topic.importance.methods import OF_ONE_TRAINING
from calclab.topic.importance.problem import ImportanceProblem, evenly
from calclab.topic.importance.ranks import rank_correlation

POINTS = 20  # places on a curve
RANDOM = 5  # orders at random, whose mean curve stands beside
FEW = 5  # rows outside a fold below which nothing is trained on them
RANDOMISED = 64  # rows that the randomisation test looks at


@dataclass(frozen=True, eq=False)
class Course:
    """Rows (b, d) and the baseline ``origin`` (1, d); ``values`` takes points (b, d), row by row, to F (b,); ``spread``
    takes what holds of the C ``columns`` (b, C) to their inputs (b, d).

    >>> way = Course(torch.ones(1, 2), torch.zeros(1, 2), lambda x: x @ torch.tensor([3.0, 1.0]), lambda c: c, 2)
    >>> order = way.order(torch.tensor([[3.0, 1.0]]), signed=True)
    >>> [tuple(float(part) for part in way.at(order, count)) for count in (0, 1, 2)]
    [(1.0, 0.0), (0.25, 0.75), (0.0, 1.0)]
    """

    rows: Tensor
    origin: Tensor
    values: Callable[[Tensor], Tensor]
    spread: Callable[[Tensor], Tensor]
    columns: int

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """F (b,) of the rows and of the baseline."""
        return self.values(self.rows), self.values(self.origin.expand_as(self.rows))

    def order(self, attributions: Tensor, signed: bool) -> Tensor:
        """The columns (b, C) of each row, most important first: signed attributions by how much they have moved F the
        way it went, others by their size."""
        if signed:
            top, bottom = self.ends
            attributions = attributions * (top - bottom).sign()[:, None]
        else:
            attributions = attributions.abs()
        return attributions.argsort(dim=-1, descending=True, stable=True)

    def at_random(self, seed: int) -> list[Tensor]:
        """RANDOM orders of the columns of each row."""
        generator = torch.Generator().manual_seed(seed)
        shape = (len(self.rows), self.columns)
        return [torch.rand(shape, generator=generator).argsort(-1).to(self.rows.device) for _ in range(RANDOM)]

    def at(self, order: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Deletion and insertion () with the first ``count`` columns of each row gone, and with only these there."""
        first = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
        first.scatter_(-1, order[:, :count], True)
        gone = self.spread(first)
        top, bottom = self.ends
        way = top - bottom
        whole = way.abs().sum()

        def left(points: Tensor) -> Tensor:
            return (way.sign() * (self.values(points) - bottom)).sum() / whole

        return left(torch.where(gone, self.origin, self.rows)), left(torch.where(gone, self.rows, self.origin))


def counts(columns: int) -> list[int]:
    """How many columns are deleted at each point of a curve: from none to all.

    >>> counts(4)
    [0, 1, 2, 3, 4]
    """
    points = min(POINTS, columns)
    return [round(columns * i / points) for i in range(points + 1)]


def course(problem: ImportanceProblem, x: Tensor, labels: Tensor | None) -> Course:
    """The way between the rows x (b, d) and the baseline, along which columns are deleted."""
    network = problem.subject
    assert isinstance(network, Network)
    with torch.no_grad():
        target = problem.chosen(network.batch_outputs(x), labels)

    def values(points: Tensor) -> Tensor:
        with torch.no_grad():
            return target.values(network.batch_outputs(points), slice(0, len(x))).detach()

    return Course(x, problem.origin, values, problem.columns.spread, len(problem.columns.names))


def curve_point(course: Course, orders: Sequence[Sequence[Tensor]], count: int) -> Tensor:
    """Deletion and insertion (M, 2) with ``count`` columns gone, the mean over the orders (b, C) of each of M kinds."""
    return torch.stack(
        [torch.stack([torch.stack(course.at(order, count)) for order in each]).mean(0) for each in orders]
    )


def area(x: Tensor, y: Tensor) -> Tensor:
    """Under a curve (P,), by the trapezoid rule.

    >>> area(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 0.0]))
    tensor(0.5000)
    """
    return torch.trapezoid(y, x)


# --- the network once more ---


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
    if stubborn := retraining.stubborn(subject):
        return f"{stubborn[0]} has parameters and no reset_parameters() that draws them"
    return ""


def parted(network: Network, i: int, count: int, seed: int) -> tuple[Data, Data]:
    """The rows outside the i-th fold, and those within."""
    data = network.data
    parts = parts_of(data, count)
    fold = retraining.folds(data, parts, seed)
    within = fold == i % parts
    return data.take((~within).nonzero()[:, 0]), data.take(within.nonzero()[:, 0])


def parts_of(data: Data, count: int) -> int:
    """How many folds the rows are parted into, where the network is trained ``count`` times."""
    return min(count if count > 2 else retraining.FOLDS, len(data.inputs) // 2)


def retrained(problem: ImportanceProblem, i: int, count: int) -> dict[str, Tensor]:
    """Of the i-th of ``count`` networks trained again: ``importance`` (C,) by the first method on the rows of ``part``;
    ``wrong`` and ``guess`` (b,), how wrong it and a guess are on rows that it has not seen. NaN where training left the
    finite numbers, and for the importance of units, which are other ones after another training."""
    assert isinstance(problem.subject, Network)
    network, method, part = problem.subject, problem.head, problem.part
    learned, held = parted(network, i, count, problem.seed)
    other = retraining.train(network, learned, network.training, retraining.drawn(problem.seed, 4, i))
    guess = retraining.guesses(learned, held)
    nothing = torch.full((len(problem.features.names),), torch.nan, dtype=guess.dtype, device=guess.device)
    if other is None:
        return {"importance": nothing, "wrong": torch.full_like(guess, torch.nan), "guess": guess}
    wrong = retraining.errors(other, held)
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
    layers = retraining.resettable(problem.subject)[:count]
    network = retraining.with_new(problem.subject, layers, retraining.drawn(problem.seed, 2))
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
    for order in (by_size, way.at_random(retraining.drawn(problem.seed, 5, i))[0]):
        first = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
        first.scatter_(-1, order[:, :count], True)
        inputs = torch.where(problem.columns.spread(first), mean, problem.reference).reshape(network.data.inputs.shape)
        changed = replace(network, data=replace(network.data, inputs=inputs))
        learned, held = parted(changed, 0, retraining.FOLDS, problem.seed)
        other = retraining.train(changed, learned, network.training, retraining.drawn(problem.seed, 6, i))
        wrong = retraining.guesses(learned, held) * torch.nan if other is None else retraining.errors(other, held)
        found.append(score(network, wrong, retraining.guesses(learned, held)))
    return found[0], found[1]


def score(network: Network, wrong: Tensor, guess: Tensor) -> Tensor:
    """Accuracy of classes, r² of numbers."""
    return 1 - wrong.mean() if network.data.classification else 1 - wrong.sum() / guess.sum()
