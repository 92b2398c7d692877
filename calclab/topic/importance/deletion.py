"""Deletion and insertion: what becomes of the target as the columns of a row give way to the baseline, in the order
that an attribution says (Petsiuk, Das and Saenko 2018, section 3.2).

A target may move up or down from the baseline, so the curve tells which part of the way is left,
Σ_r s_r (F(x_r') - F(b)) / Σ_r |F(x_r) - F(b)| with s_r the sign of F(x_r) - F(b): 1 for the rows as they are, 0 at the
baseline. A good order lets it fall early when columns are deleted, and rise early when they are put back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.subject.network import Network
from calclab.topic.importance.problem import ImportanceProblem

POINTS = 20  # places on a curve
RANDOM = 5  # orders at random, whose mean curve stands beside


@dataclass(frozen=True, eq=False)
class Course:
    """Rows (b, d) and the baseline ``origin`` (1, d); ``values`` takes points (b, d), row by row, to F (b,)."""

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
    """Under a curve (P,), by the trapezoid rule."""
    return torch.trapezoid(y, x)
