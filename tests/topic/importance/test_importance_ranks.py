"""Rank correlation against SciPy, intervals against closed forms, and rank sets by how often they hold."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from calclab.topic.importance.ranks import (
    Ranks,
    bootstrap,
    cuts,
    midranks,
    rank_correlation,
    ranks,
    student,
    verdict,
)

torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_midranks_share_ties() -> None:
    x = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
    assert midranks(x).tolist() == [list(stats.rankdata(row)) for row in x]


def test_rank_correlation_is_spearmans() -> None:
    a, b = normal(5, 12), (normal(5, 12, seed=1) * 2).round()
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(rank_correlation(a, b), torch.tensor(expected, dtype=torch.float64))
    assert rank_correlation(a[0], -a[0]) == -1
    assert rank_correlation(a[0], torch.ones(12, dtype=torch.float64)).isnan()


def test_bootstrap_means_vary_as_a_mean_does() -> None:
    rows = normal(60, 3).exp()
    means = bootstrap(rows, 4000, seed=5)
    torch.testing.assert_close(means.mean(0), rows.mean(0), rtol=0.02, atol=0)
    torch.testing.assert_close(means.var(0), rows.var(0, correction=0) / 60, rtol=0.1, atol=0)
    assert torch.equal(means, bootstrap(rows, 4000, seed=5))


def test_few_trainings_have_students_tails() -> None:
    shares = normal(4, 1)
    off = shares - shares.mean(0)
    error = float(shares.std()) / 2
    draws = student(off, 20_000, seed=3)[:, 0] / error
    assert float(torch.quantile(draws, 0.975)) == pytest.approx(stats.t.ppf(0.975, 3), rel=0.08)


def test_clear_ranks_are_told_apart() -> None:
    rows = torch.tensor([5.0, 1.0, 3.0], dtype=torch.float64) + 0.1 * normal(50, 3)
    found = ranks(rows, None, 500, seed=0)
    assert found.rank.tolist() == found.first.tolist() == found.last.tolist() == [1, 3, 2]
    assert cuts(found) == [1, 2]
    assert bool((found.low < rows.mean(0)).all() & (rows.mean(0) < found.high).all())
    assert verdict(found, "over 50 rows") == "all 3 ranks are distinguishable (95% confidence, over 50 rows)"


def test_equal_columns_are_never_told_apart() -> None:
    one = normal(50, 1).abs()
    found = ranks(torch.cat([one, one, one + 5], 1), None, 500, seed=0)
    assert cuts(found) == [1]
    assert found.first.tolist() == [2, 2, 1]
    assert found.last.tolist() == [3, 3, 1]


def test_rank_sets_hold_as_often_as_they_say() -> None:
    """All sets at once, in at least 95 % of 200 samples of skew rows, less what 200 samples can miss by chance."""
    truth, hits = torch.tensor([1.0, 1.2, 1.2, 1.8, 2.5], dtype=torch.float64), 0
    lowest, highest = torch.tensor([5, 3, 3, 2, 1]), torch.tensor([5, 4, 4, 2, 1])
    for trial in range(200):
        found = ranks(truth * normal(60, 5, seed=trial).exp(), None, 200, seed=trial)
        hits += bool(((found.first <= highest) & (found.last >= lowest)).all())
    assert hits >= 182


def likely(held: int, of: int, share: float) -> bool:
    """Whether so many of independent trials hold with this share, but for one chance in 10,000."""
    low, high = stats.binom.interval(0.9999, of, share)
    return bool(low <= held <= high)


def test_intervals_hold_as_often_as_they_say_and_are_as_wide_as_that_takes() -> None:
    """300 samples of 60 rows: 95 % less what the bootstrap's spread of N for N - 1 costs; the width of a normal's."""
    truth, held, widths = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), torch.zeros(3), []
    for trial in range(300):
        found = ranks(truth + normal(60, 3, seed=trial), None, 400, seed=trial)
        held += (found.low <= truth) & (truth <= found.high)
        widths.append(found.high - found.low)
    for count in held.tolist():
        assert likely(int(count), 300, 0.945)
    expected = 2 * stats.norm.ppf(0.975) / 60**0.5
    torch.testing.assert_close(torch.stack(widths).mean(0), torch.full_like(truth, expected), rtol=0.04, atol=0)


def test_two_equal_columns_are_told_apart_as_rarely_as_said_and_unequal_ones_when_they_can_be() -> None:
    """At 95 % one pair of equal means in 20; of means five standard errors apart all but few, two apart about half."""
    apart = {0.0: 0, 1.96: 0, 5.0: 0}
    for trial in range(300):
        rows = normal(80, 2, seed=trial)
        for errors in apart:
            shifted = rows + torch.tensor([errors * (2 / 80) ** 0.5, 0.0], dtype=torch.float64)
            apart[errors] += bool(ranks(shifted, None, 300, seed=trial).above.any())
    assert likely(apart[0.0], 300, 0.055)
    assert likely(apart[1.96], 300, 0.5)
    assert apart[5.0] >= 295


def test_trainings_widen_an_interval_by_their_own_spread() -> None:
    """Rows that agree leave Student's interval for the mean of the trainings' shares, brought to the rows' total."""
    shares = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.45, 0.35, 0.2], [0.5, 0.25, 0.25]], dtype=torch.float64)
    sizes = torch.tensor([[1.0], [10.0], [3.0], [0.5]], dtype=torch.float64)  # only shares are ranked
    rows = torch.tensor([[5.0, 3.0, 2.0]], dtype=torch.float64).expand(20, 3)
    found = ranks(rows, shares * sizes, 20_000, seed=0)
    torch.testing.assert_close(found.high / 2 + found.low / 2, 10 * shares.mean(0), rtol=0.05, atol=0)
    expected = 2 * stats.t.ppf(0.975, 3) * 10 * shares.std(0) / 2
    torch.testing.assert_close(found.high - found.low, expected, rtol=0.1, atol=0)


def test_a_training_that_disagrees_blurs_the_ranks() -> None:
    rows = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64) + 0.05 * normal(80, 3)
    alike = torch.tensor([[3.0, 2.0, 1.0], [3.1, 2.0, 0.9], [6.2, 4.2, 2.0]], dtype=torch.float64)
    torn = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0]], dtype=torch.float64)
    assert cuts(ranks(rows, None, 500, 0)) == [1, 2]
    assert cuts(ranks(rows, alike, 500, 0)) == [1, 2]
    assert cuts(ranks(rows, torn, 500, 0)) == []


def known(above: list[list[int]]) -> Ranks:
    table = torch.tensor(above, dtype=torch.bool)
    C = len(table)
    nothing, rank = torch.zeros(C), torch.arange(1, C + 1)
    return Ranks(nothing, nothing, nothing, rank, 1 + table.sum(0), C - table.sum(1), table)


def chain(C: int, *edges: int) -> Ranks:
    """Everything up to each edge is above everything after it."""
    return known([[int(any(i < e <= j for e in edges)) for j in range(C)] for i in range(C)])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (chain(7, 1, 2), "the first two ranks are distinguishable, ranks 3–7 are not (95% confidence, x)"),
        (chain(7, 1), "the first rank is distinguishable, ranks 2–7 are not"),
        (chain(4), "no rank is distinguishable (95% confidence, x)"),
        (chain(5, 2), "ranks are distinguishable between, not within, 1–2 and 3–5"),
        (chain(5, 2, 3), "rank 3 is distinguishable, within ranks 1–2 and 4–5 they are not"),
        (chain(3, 1, 2), "all 3 ranks are distinguishable (95% confidence, x)"),
    ],
)
def test_the_verdict_in_words(found: Ranks, words: str) -> None:
    assert verdict(found, "x").startswith(words)
