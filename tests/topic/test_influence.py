"""Influence is held by retraining, closed forms of least squares, and derivatives by the row's weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import calclab
from calclab.attribution.influence import correlation, settle
from calclab.errors import UserError


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_residual_left_out_of_a_ridge_regression_is_e_over_one_minus_h() -> None:
    x, y = rows(30, 4), rows(30, 1, 1)
    damping, n = 0.2, 30
    found = calclab.influence(
        calclab.loss(nn.Linear(4, 1, bias=False).double(), "half_mse", (x, y)), damping=damping, retrains=30
    )
    H = x.T @ x + n * damping * torch.eye(4, dtype=torch.float64)
    h = (x * torch.linalg.solve(H, x.T).T).sum(1)
    e = (y - x @ torch.linalg.solve(H, x.T @ y))[:, 0]
    removed = torch.tensor(found.frames["scalars"]["row"].iloc[1:].to_numpy(), dtype=torch.int64)
    left_out = torch.tensor(found.frames["scalars"]["left_out_loss"].iloc[1:].to_numpy())
    assert torch.allclose(left_out, ((e / (1 - h)) ** 2 / 2)[removed], rtol=1e-9)
    assert found.largest_gap_left_out <= 1e-9
    assert found.largest_gap_one_step <= 1e-8


def test_influence_is_the_derivative_by_a_rows_weight() -> None:
    x = rows(40, 3)
    classes = (x.sum(1) + 0.5 * rows(40, 1, 1)[:, 0] > 0).long()
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    found = calclab.influence(calclab.loss(module, "cross_entropy", (x, classes)), damping=0.05, retrains=0)
    assert found.verdict == "consistent"
    assert {"gradient", "influence"} <= set(found.evidence["quantity"])


def test_newton_settles_where_the_gradient_is_zero_and_curvature_is_not_negative() -> None:
    found = settle(lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, torch.tensor([0.1, 2.0], dtype=torch.float64))
    assert abs(float(found.θ[0])) == pytest.approx(1)
    assert found.gradient_norm <= 1e-8
    assert found.least == pytest.approx(2)


def test_the_interval_of_a_correlation_holds_as_often_as_it_says() -> None:
    held = 0
    for seed in range(400):
        x, z = rows(30, 1, 2 * seed)[:, 0], rows(30, 1, 2 * seed + 1)[:, 0]
        c = correlation(x, 0.6 * x + 0.8 * z)
        held += c.low <= 0.6 <= c.high
    assert 0.91 <= held / 400 <= 0.985


def test_what_cannot_be_asked_is_told() -> None:
    subject = calclab.loss(nn.Linear(2, 1).double(), "mse", (rows(9, 2), rows(9, 1, 1)))
    with pytest.raises(UserError, match="rows 0 to 8"):
        calclab.influence(subject, row=9)
    with pytest.raises(UserError, match="one of its outputs"):
        calclab.influence(subject, target="output.3")
    with pytest.raises(UserError, match="limit=2"):
        calclab.influence(subject, limit=2)
    with pytest.raises(UserError, match="name one, such as network=linear"):
        calclab.influence(calclab.formula("x**2", at=1))
