"""Choosing and telling apart: closed forms of the sign test, robust quantiles, ties, and no reporting on the chosen."""

from __future__ import annotations

import math

import pytest
import torch

from calclab.topic.comparison import tuning

INF = math.inf


def test_quantiles_are_entries_around_the_median_and_survive_infinities() -> None:
    values = torch.tensor([[5.0, 1.0, 3.0, 2.0, 4.0], [INF, 1.0, INF, 0.0, INF], [INF] * 5])
    low, middle, high = tuning.quantiles(values)
    assert low.tolist() == [2, 1, INF]
    assert middle.tolist() == [3, INF, INF]
    assert high.tolist() == [4, INF, INF]
    assert float(tuning.median(torch.tensor([4.0, 1.0, 2.0, 9.0]))) == 3


@pytest.mark.parametrize("n", [1, 5, 6, 10])
def test_the_sign_test_is_the_binomial_tail(n: int) -> None:
    assert tuning.sign_test(n, 0) == min(1.0, 2 / 2**n)
    for wins in range(n + 1):
        tail = sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= abs(2 * wins - n)) / 2**n
        assert tuning.sign_test(wins, n - wins) == pytest.approx(tail, abs=1e-15)
        assert tuning.sign_test(wins, n - wins) == tuning.sign_test(n - wins, wins)


def test_without_a_difference_nothing_is_told() -> None:
    assert tuning.sign_test(0, 0) == 1
    assert tuning.sign_test(tuning.enough(), 0) < tuning.LEVEL <= tuning.sign_test(tuning.enough() - 1, 0)


def test_the_rate_is_chosen_by_the_median_not_by_the_luckiest_start() -> None:
    best = torch.tensor([[[0.0, 9.0, 9.0], [5.0, 5.0, 5.0], [6.0, 6.0, 0.0]]])
    assert tuning.choose(best, torch.zeros(1, 3, 3, dtype=torch.int64), torch.zeros(3)).tolist() == [1]


def test_losses_within_rounding_are_ties_and_the_sooner_wins() -> None:
    best = torch.tensor([[[1e-17], [2e-17], [1.0]]], dtype=torch.float64)
    settled = torch.tensor([[[50], [20], [1]]])
    assert tuning.choose(best, settled, torch.tensor([1e-15])).tolist() == [1]
    assert tuning.choose(best, settled, torch.tensor([1e-19])).tolist() == [0]
    own, when = best[0, :2], settled[0, :2]
    assert tuning.better(own, when, torch.tensor([1e-15]))[..., 0].tolist() == [[0, -1], [1, 0]]
    assert tuning.better(own, when, torch.tensor([1e-19]))[..., 0].tolist() == [[0, 1], [-1, 0]]
    assert tuning.ranking(own[:, 0], when[:, 0], torch.tensor(1e-15)) == [1, 0]


def test_better_is_antisymmetric_and_an_infinity_ties_with_itself_only() -> None:
    best = torch.tensor([[0.0, INF, 1.0], [2.0, INF, INF], [1.0, 3.0, 0.5]])
    found = tuning.better(best, torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3))
    assert torch.equal(found, -found.transpose(0, 1))
    assert found[0, 1].tolist() == [1, 0, 1]


def test_the_starts_that_choose_do_not_report() -> None:
    """The first rate is perfect on the half that chooses and poor on the other: the poor half is what is reported."""
    best = torch.tensor([[[0.0, 0.0, 7.0, 8.0], [5.0, 5.0, 5.0, 5.0]]])
    found = tuning.tune(best, torch.zeros(1, 2, 4, dtype=torch.int64), torch.zeros(4))
    assert found.rate.tolist() == [0]
    assert found.best.tolist() == [[7.0, 8.0]]
    for seeds in range(4, 9):
        chooses, reports = tuning.split(seeds)
        halves = list(range(seeds))[chooses], list(range(seeds))[reports]
        assert sorted(halves[0] + halves[1]) == list(range(seeds))
        assert not set(halves[0]) & set(halves[1])


def test_the_ranking_follows_shifts_of_all_losses() -> None:
    losses, settled = torch.tensor([3.0, 1.0, 2.0]), torch.zeros(3)
    for shift in (0.0, -10.0, 100.0):
        assert tuning.ranking(losses + shift, settled, torch.tensor(1e-9)) == [1, 2, 0]


def test_the_boundary_is_below_the_first_rate_that_diverged() -> None:
    assert tuning.boundary(torch.tensor([0.0, 0.0, 0.2, 0.0, 1.0])) == 2
    assert tuning.boundary(torch.tensor([0.1, 0.0])) == 0
    assert tuning.boundary(torch.zeros(4)) == 4
