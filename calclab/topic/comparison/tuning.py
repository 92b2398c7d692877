"""Which rate an optimizer is judged by, and whether the starts tell two of them apart. Nothing here knows a minimum.

Losses are (O, R, S), optimizers × rates × starts, infinite where a walk diverged: what it passed on the way is lost.
Those that differ by rounding only are ties, and then fewer evaluations are better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 0.05  # of the sign test
RISK = 0.25  # of the walks: a rate at which more diverge is not chosen where there is another,
WORTH = 10  # and one at which some do only where it gets so many times nearer to the lowest loss of all


def quantiles(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower quartile, median and upper quartile over the last axis, infinities among the values or not.

    The quartiles are entries, the outer ones; the median is the mean of the middle two.
    """
    ordered = values.sort(-1).values
    last = values.shape[-1] - 1
    low, high = math.floor(0.25 * last), math.ceil(0.75 * last)
    middle = 0.5 * ordered[..., last // 2] + 0.5 * ordered[..., -(-last // 2)]
    return ordered[..., low], middle, ordered[..., high]


def median(values: Tensor) -> Tensor:
    return quantiles(values)[1]


def split(seeds: int) -> tuple[slice, slice]:
    """Which starts choose the rate and which report: the first half and the rest, or all of them where there are
    fewer than four."""
    if seeds < 4:
        return slice(None), slice(None)
    return slice(0, seeds // 2), slice(seeds // 2, None)


def choose(best: Tensor, settled: Tensor, noise: Tensor) -> Tensor:
    """The number (O,) of the rate that a user would take: of those at which no walk diverged the one with the lowest
    median loss, among ties the one that was there first. A rate at which few did (RISK) is taken where it is WORTH it;
    where all are worse, the one with the lowest median, and of these the one at which the fewest diverged."""
    level, level_noise = median(best), median(noise)
    lost = best.isinf().to(best).mean(-1)
    base = best.flatten(0, 1).min(0).values  # (S,)
    lowest = median(base)
    safe = lowest_of(level, settled, lost == 0, level_noise)
    bold = lowest_of(level, settled, lost <= RISK, level_noise)
    each = torch.arange(len(level), device=level.device)
    gap = (level - lowest).nan_to_num(nan=torch.inf) + level_noise
    dare = gap[each, bold] * WORTH < gap[each, safe]
    chosen = torch.where((lost == 0).any(1) & ~dare, safe, bold)
    fewest = torch.where(level <= level.min(1, keepdim=True).values, lost, torch.inf).argmin(1)
    return torch.where((lost <= RISK).any(1), chosen, fewest)


def lowest_of(level: Tensor, settled: Tensor, allowed: Tensor, noise: Tensor) -> Tensor:
    """The number (O,) of the lowest median ``level`` (O, R) among those ``allowed`` (O, R)."""
    level = torch.where(allowed, level, torch.inf)
    tied = allowed & (level <= level.min(1, keepdim=True).values + noise)
    return torch.where(tied, median(settled.to(level)), torch.inf).argmin(1)


def better(best: Tensor, settled: Tensor, noise: Tensor) -> Tensor:
    """(O, O, S) of 1 where the first optimizer is better than the second from that start, -1 where worse, 0 a tie.
    ``best`` and ``settled`` are (O, S), ``noise`` is (S,)."""
    difference = (best[:, None] - best[None]).nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    lower, higher = difference < -noise, difference > noise
    sooner = (settled[None] - settled[:, None]).sign() * best.isfinite()  # of two that diverged neither is better
    return torch.where(lower, 1, torch.where(higher, -1, sooner))


def sign_test(wins: int, losses: int) -> float:
    """The chance of a split at least as uneven, were both as good: exact, two-sided, without ties (Dixon and Mood
    1946)."""
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1)) / 2**n
    return min(1.0, 2 * tail)


def enough() -> int:
    """The fewest starts that can tell two optimizers apart: all of them agree."""
    return next(n for n in range(1, 100) if sign_test(n, 0) < LEVEL)


def boundary(diverged: Tensor) -> int:
    """How many of the rates, from the smallest on, are below the first at which a walk diverged; ``diverged`` (R,)
    holds shares."""
    return int((diverged == 0).long().cumprod(0).sum())


@dataclass(frozen=True)
class Tuned:
    """Every optimizer at its own rate. ``rate`` is its number (O,); ``best`` and ``settled`` are (O, S') over the
    starts that report; ``order`` lists the optimizers, best first."""

    rate: Tensor
    best: Tensor
    settled: Tensor
    better: Tensor
    order: list[int]


def tune(best: Tensor, settled: Tensor, noise: Tensor) -> Tuned:
    """``best`` and ``settled`` (O, R, S), ``noise`` (S,)."""
    chooses, reports = split(best.shape[-1])
    rate = choose(best[..., chooses], settled[..., chooses], noise[chooses])
    each = torch.arange(len(rate), device=rate.device)
    own, when = best[each, rate][:, reports], settled[each, rate][:, reports]
    found = better(own, when, noise[reports])
    return Tuned(rate, own, when, found, ranking(median(own), median(when.to(own)), median(noise[reports])))


def ranking(losses: Tensor, settled: Tensor, noise: Tensor) -> list[int]:
    """By median loss (O,); of those within rounding of the lowest left, the one that was there first comes first."""
    left, order = list(range(len(losses))), []
    while left:
        least = min(float(losses[i]) for i in left)
        tied = [i for i in left if not float(losses[i]) > least + float(noise)]
        first = min(tied, key=lambda i: float(settled[i]))
        order.append(first)
        left.remove(first)
    return order
