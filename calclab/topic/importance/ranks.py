"""Which ranks can be told apart: rank correlation, bootstrap intervals, and confidence sets for ranks.

A rank is known as well as the differences that decide it. Simultaneous intervals for all pairwise differences give a
set for each rank, 1 + #{certainly larger} to C - #{certainly smaller}, and all sets hold together with the confidence
asked for (Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for Ranks, section 3):

    i is certainly larger than j where m_i - m_j > q s_ij,  q the 95 % quantile of max over i, j of |e_i - e_j| / s_ij

with m the means, s_ij the standard error of a difference and e a draw of the error in m. What varies: the rows, drawn
again with replacement (Efron 1979), and, where networks were trained anew, the training, whose few deviations are drawn
with Student's t. Rows are taken to be independent, and the rows at hand to be like those that are spoken of.

>>> rows = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)).abs() + torch.tensor([5.0, 1.0, 1.0])
>>> found = ranks(rows, None, draws=500, seed=0)
>>> found.first.tolist(), found.last.tolist()  # the first is known, the others are not told apart
([1, 2, 2], [1, 3, 3])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 0.95
LOT = 2**22  # numbers at once
COUNTED = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
MOST = 1000  # features up to which pairs are held against each other


def midranks(x: Tensor) -> Tensor:
    """Ranks 1 to C along the last axis, ascending; equal entries share the mean of theirs. (..., C).

    >>> midranks(torch.tensor([0.5, 2.0, 0.5, -1.0]))
    tensor([2.5000, 4.0000, 2.5000, 1.0000])
    """
    order = x.argsort(-1)
    ordered = x.gather(-1, order)
    places = torch.arange(1, x.shape[-1] + 1, device=x.device).to(x).expand_as(x).contiguous()
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    group = new.long().cumsum(-1) - 1  # which run of equal entries
    sums = torch.zeros_like(places).scatter_add_(-1, group, places)
    counts = torch.zeros_like(places).scatter_add_(-1, group, torch.ones_like(places))
    means = (sums / counts.clamp(min=1)).gather(-1, group)
    return torch.empty_like(x).scatter_(-1, order, means)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's, along the last axis: the correlation of the midranks; NaN where one side is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 1000.0]))
    tensor(1.)
    """
    x, y = midranks(a), midranks(b)
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def bootstrap(rows: Tensor, draws: int, seed: int) -> Tensor:
    """Means (draws, C) of the rows (N, C), drawn N at a time with replacement."""
    count = len(rows)
    generator = torch.Generator().manual_seed(seed)
    size = max(1, LOT // count)
    means = []
    for first in range(0, draws, size):
        lot = min(size, draws - first)
        drawn = torch.randint(count, (lot, count), generator=generator)
        times = torch.zeros(lot, count, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(lot, count, dtype=torch.float64)
        )
        means.append(times.to(rows) @ rows / count)
    return torch.cat(means)


@dataclass(frozen=True)
class Ranks:
    """Of C features: ``centre``, what they are ranked by, with its interval ``low`` to ``high``; ``rank`` from 1, with
    the set ``first`` to ``last`` of ranks that it may have. ``above`` (C, C): row certainly larger than column."""

    centre: Tensor
    low: Tensor
    high: Tensor
    rank: Tensor
    first: Tensor
    last: Tensor
    above: Tensor


def ranks(rows: Tensor, trainings: Tensor | None, draws: int, seed: int) -> Ranks:
    """Ranks of mean importance over rows (N, C); with ``trainings`` (S, C), S > 1, over them too: each is taken as
    shares, since only those are ranked, and brought to the total of the rows' mean.
    """
    mean = rows.mean(0)
    noise = bootstrap(rows, draws, seed) - mean
    variance = cross(rows - mean) / max(1, len(rows) - 1) / len(rows)
    if trainings is not None:
        totals = trainings.sum(-1, keepdim=True)
        shares = torch.where(totals > 0, trainings / totals, 0.0) * mean.sum()
        S, mean = len(shares), shares.mean(0)
        off = shares - mean
        variance = variance + cross(off) / (S - 1) / S
        noise = noise + student(off, draws, seed).to(noise)
    tail = (1 - LEVEL) / 2
    low, high = (mean + torch.quantile(noise, q, dim=0) for q in (tail, 1 - tail))
    low = low.clamp(min=0) if bool((rows >= 0).all()) else low
    order = mean.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(1, len(order) + 1, device=order.device)
    above = told_apart(mean, noise, variance)
    first, last = 1 + above.sum(0), len(mean) - above.sum(1)
    return Ranks(mean, low, high, rank, first, last, above)


def student(off: Tensor, draws: int, seed: int) -> Tensor:
    """Draws (draws, C) of the error in the mean of S deviations (S, C): normal weights over a χ of S - 1 degrees, which
    gives each coordinate Student's t, as few trainings deserve."""
    S = len(off)
    generator = torch.Generator().manual_seed(seed + 1)
    weights = torch.randn(draws, S, generator=generator, dtype=torch.float64)
    chi = torch.randn(draws, S - 1, generator=generator, dtype=torch.float64).square().mean(1, keepdim=True).sqrt()
    return (weights / chi).to(off) @ off / (S * (S - 1)) ** 0.5


def cross(off: Tensor) -> Tensor:
    """Σ over the rows of the products of deviations (S, C): (C, C)."""
    return off.T @ off


def told_apart(mean: Tensor, noise: Tensor, variance: Tensor) -> Tensor:
    """(C, C): whether i is larger than j, by simultaneous intervals for all differences; none beyond MOST features.

    The widest of |noise_i - noise_j| over its standard error, of each draw, has the quantile that all intervals need.
    """
    C = len(mean)
    if not 1 < C <= MOST:
        return torch.zeros(C, C, dtype=torch.bool, device=mean.device)
    own = variance.diagonal()
    squares = (own[:, None] + own[None, :] - 2 * variance).clamp(min=0)
    squares = torch.where(squares > 1e-24 * own.max(), squares, 0.0)  # what is left of equal columns is rounding
    error = squares.sqrt()
    inverse = torch.where(error > 0, 1 / error, 0.0)
    size = max(1, LOT // (C * C))
    widest = torch.cat(
        [
            ((lot[:, :, None] - lot[:, None, :]).abs() * inverse).flatten(1).max(1).values
            for lot in torch.split(noise, size)
        ]
    )
    width = torch.quantile(widest, LEVEL) * error
    gap = mean[:, None] - mean[None, :]
    return (gap > width) & (gap > 0)


def cuts(found: Ranks) -> list[int]:
    """The ranks r after which everything above is certainly larger than everything below."""
    order = found.rank.argsort()
    above = found.above[order][:, order]
    return [r for r in range(1, len(order)) if bool(above[:r, r:].all())]


def verdict(found: Ranks, over: str) -> str:
    """Which ranks are distinguishable, in words; which ones each may have stands in the table beside it."""
    C = len(found.rank)
    if C < 2:
        return ""
    if C > MOST:
        return f"which ranks are distinguishable is not told: {C} columns make too many pairs"
    edges = [0, *cuts(found), C]
    groups = [(a + 1, b) for a, b in itertools.pairwise(edges)]
    single = [a for a, b in groups if a == b]
    level = f"{LEVEL:.0%} confidence, {over}"
    if len(groups) == C:
        return f"{'both' if C == 2 else f'all {C}'} ranks are distinguishable ({level})"
    blurred = [span(a, b) for a, b in groups if b > a]
    if len(groups) == 1:
        known = "no rank is distinguishable"
    elif not single:
        known = f"ranks are distinguishable between, not within, {together(blurred)}"
    else:
        rest = f"ranks {blurred[0]} are not" if len(blurred) == 1 else f"within ranks {together(blurred)} they are not"
        known = f"{told(single)} {'is' if len(single) == 1 else 'are'} distinguishable, {rest}"
    return f"{known} ({level})"


def span(a: int, b: int) -> str:
    return f"{a}" if a == b else f"{a}–{b}"


def told(single: Sequence[int]) -> str:
    """Ranks that are known, in words: the first, the first 2, rank 7, ranks 1–2, 5."""
    spans: list[tuple[int, int]] = []
    for r in single:
        if spans and spans[-1][1] == r - 1:
            spans[-1] = (spans[-1][0], r)
        else:
            spans.append((r, r))
    if len(spans) == 1 and spans[0][0] == 1:
        return "the first rank" if spans[0][1] == 1 else f"the first {COUNTED.get(spans[0][1], spans[0][1])} ranks"
    return f"rank{'s' * (len(single) > 1)} {together([span(a, b) for a, b in spans])}"


def together(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
