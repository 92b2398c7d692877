"""The noise scale: exact identities of its parts, and errors that are as large as they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.numerics.krylov.student import quantile
from calclab.watch.noise import Spread, estimate, parted, readings, rows_of, sums
from calclab.watch.noise import spread as spread_of


def spread(gradients: Tensor) -> Spread:
    """Of gradients (m, n), in two parts."""
    return spread_of([[g[:1], g[1:]] for g in gradients.double()])


def groups(m: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.4


@pytest.mark.parametrize(("m", "rows"), [(2, 1), (3, 7), (16, 4)])
def test_it_is_the_estimator_of_two_sizes_of_batch(m: int, rows: int) -> None:
    """McCandlish et al. 2018, A.1: from the mean squared length of small gradients and that of the large one."""
    g = groups(m, 11)
    small, large = float(g.square().sum(1).mean()), float(g.mean(0).square().sum())
    found = estimate(spread(g), rows)
    b, big = rows, m * rows
    assert found.trace == pytest.approx((small - large) / (1 / b - 1 / big), rel=1e-10)
    assert found.squared == pytest.approx((big * large - b * small) / (big - b), rel=1e-10)


def test_the_jackknife_is_that_of_leaving_groups_out() -> None:
    g = groups(6, 4) + 2
    found = estimate(spread(g), 3)
    left = [estimate(spread(torch.cat([g[:j], g[j + 1 :]])), 3) for j in range(6)]
    for name in ("trace", "squared", "scale"):
        values = torch.tensor([getattr(one, name) for one in left], dtype=torch.float64)
        error = float(((values - values.mean()).square().sum() * 5 / 6).sqrt())
        assert getattr(found, f"{name}_error") == pytest.approx(error, rel=1e-10)


@pytest.mark.parametrize(("m", "rows"), [(16, 4), (8, 8)])
def test_errors_hold_as_often_as_they_say(m: int, rows: int) -> None:
    """Over 1500 batches of normal rows: no bias beyond four standard errors of the mean, intervals of 95 % that hold in
    92 to 98.5 % of the cases (the jackknife errs on the side of caution)."""
    made = torch.Generator().manual_seed(m)
    n, count = 40, 1500
    signal, root = torch.randn(n, generator=made) * 0.3, torch.randn(n, n, generator=made) / n**0.5
    trace, squared = float(root.square().sum()), float(signal.square().sum())
    each = torch.randn(count, m, rows, n, generator=made) @ root.T + signal
    found = [estimate(spread(batch), rows) for batch in each.mean(2)]
    width = quantile(m - 1, 0.95)
    for name, truth in (("trace", trace), ("squared", squared)):
        values = torch.tensor([getattr(one, name) for one in found])
        errors = torch.tensor([getattr(one, f"{name}_error") for one in found])
        assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / count**0.5
        assert 0.92 < float(((values - truth).abs() < width * errors).float().mean()) < 0.985
    told = [one for one in found if 2 * one.squared > one.most]
    held = [abs(one.scale - trace / squared) < width * one.scale_error for one in told]
    assert len(told) > 0.9 * count
    assert 0.92 < sum(held) / len(held) < 0.985


def test_no_scale_is_read_where_there_is_no_signal() -> None:
    noise = torch.randn(400, 16, 30, generator=torch.Generator().manual_seed(1))
    names = [{reading.name for reading in readings(estimate(spread(g), 4))} for g in noise]
    assert sum("noise/scale" in found for found in names) < 0.05 * 400  # two-sided 95 %: a fortieth


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(12, 3), torch.zeros(12)),
        {"ids": torch.zeros(12, 5), "mask": torch.zeros(12, 5), "labels": torch.zeros(12), "weight": torch.zeros(())},
        ((torch.zeros(12, 3), {"more": torch.zeros(12, 2)}), torch.zeros(12)),
    ],
)
def test_any_batch_is_parted(batch: Any) -> None:
    parts = list(parted([batch, batch], 6))
    assert [rows_of(part) for part in parts] == [4] * 6
    assert type(parts[0]) is type(batch)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sum_over_rows_has_the_same_noise(reduction: str) -> None:
    """The scale knows no units; a criterion that adds rows up is found out."""
    torch.manual_seed(0)
    model = nn.Linear(6, 1)
    criterion, optimizer = nn.MSELoss(reduction=reduction), torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(64, 6)
    y = x.sum(1, keepdim=True) + 0.5 * torch.randn(64, 1)
    criterion(model(x), y).backward()
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities="noise") as watch:
        optimizer.step()
        watch.step((x, y))
    each = torch.func.vmap(
        torch.func.grad(lambda w, b, x, y: ((x @ w.T + b - y) ** 2).sum(), argnums=(0, 1)), (None, None, 0, 0)
    )
    flat = torch.cat([g.flatten(1) for g in each(model.weight.detach(), model.bias.detach(), x, y)], 1)
    expected = estimate(spread(flat.reshape(8, 8, -1).mean(1)), 8)
    values = dict(zip(watch.values.name, watch.values.value, strict=True))
    assert values["noise/trace"] == pytest.approx(expected.trace, rel=1e-4)
    assert values["noise/gradient_squared"] == pytest.approx(expected.squared, rel=1e-4)


def test_sums_are_told_from_means() -> None:
    assert sums(8.0, [2.0, 2.0, 2.0, 2.0], 1)
    assert not sums(2.1, [2.0, 2.0, 2.0, 2.0], 1)
    assert sums(4.0, [2.0, 2.0, 2.0, 2.0], 2)  # of two accumulated batches of two parts each
    assert not sums(2.0, [2.0, 2.0, 2.0, 2.0], 2)
