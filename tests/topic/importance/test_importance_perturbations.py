"""Deletion and insertion of an additive target, whose curves are partial sums."""

from __future__ import annotations

import torch

from calclab.topic.importance.perturbations import Course, area, counts

torch.set_num_threads(1)
W = torch.tensor([2.0, -1.0, 0.5, 3.0, -0.25], dtype=torch.float64)
X = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
ORIGIN = X.mean(0, keepdim=True) * 0.5
COURSE = Course(X, ORIGIN, lambda points: points @ W, lambda of_columns: of_columns, 5)


def test_an_additive_target_loses_what_is_deleted() -> None:
    parts = (X - ORIGIN) * W  # F(x) - F(b) in parts
    way = parts.sum(1)
    order = COURSE.order(parts, signed=True)
    assert counts(5) == [0, 1, 2, 3, 4, 5]
    for count in counts(5):
        first = torch.zeros_like(parts).scatter_(1, order[:, :count], 1.0)
        gone = (parts * first).sum(1)
        deletion, insertion = COURSE.at(order, count)
        torch.testing.assert_close(insertion, (way.sign() * gone).sum() / way.abs().sum())
        torch.testing.assert_close(deletion + insertion, torch.ones((), dtype=torch.float64))


def test_the_true_order_is_better_than_any_at_random() -> None:
    x = torch.tensor([count / 5 for count in counts(5)], dtype=torch.float64)

    def areas(order: torch.Tensor) -> tuple[float, float]:
        curves = torch.tensor([[float(v) for v in COURSE.at(order, count)] for count in counts(5)]).double()
        return float(area(x, curves[:, 0])), float(area(x, curves[:, 1]))

    deletion, insertion = areas(COURSE.order((X - ORIGIN) * W, signed=True))
    for order in COURSE.at_random(3):
        assert sorted(order[0].tolist()) == [0, 1, 2, 3, 4]
        other = areas(order)
        assert deletion < other[0]
        assert insertion > other[1]


def test_unsigned_attributions_go_by_size() -> None:
    a = torch.tensor([[-3.0, 1.0, 2.0, 0.0, -0.5]], dtype=torch.float64).expand(7, 5)
    assert COURSE.order(a, signed=False)[0].tolist() == [0, 2, 1, 4, 3]


def test_the_area_of_a_straight_line() -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(area(x, 3 * x), torch.tensor(1.5, dtype=torch.float64))
