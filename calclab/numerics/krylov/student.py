"""Means of independent samples, and how many are needed: intervals by Student's t, the number by Stein's two stages.

To stop as soon as the samples at hand look alike is to stop by luck: the interval then holds less often than it says.
Stein (1945) fixes the number from the spread S of the first m samples alone, N = t²S²/ε², and keeps that S and the
m - 1 degrees of freedom: for normal samples the interval mean ± t S/√N then holds with exactly the stated confidence.

It holds since the mean of N samples and the spread S of the first m are independent for normal samples, so that
(mean - μ) √N / S has Student's distribution whatever N turned out to be. Samples that are skewed make it hold less
often; a larger pilot mends that.

>>> round(quantile(9, 0.95), 4), round(within(2.2622, 9), 4)  # t for 9 degrees of freedom, as in every table
(2.2622, 0.95)
>>> found = mean(torch.tensor([1.0, 2.0, 3.0, 4.0]), pilot=4)
>>> round(float(found.error), 4)  # √(5/3)/√4
0.6455
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import atan, cos, inf, pi, sin, sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mean:
    """A mean (...), its standard error (...), and half the width of its interval (...), from ``samples`` of them."""

    value: Tensor
    error: Tensor
    half: Tensor
    samples: int


def mean(samples: Tensor, pilot: int, confidence: float = 0.95) -> Mean:
    """Over the first axis; the spread is that of the first ``pilot`` samples."""
    count = len(samples)
    first = samples[: min(pilot, count)]
    value = samples.mean(0) if count else samples.new_full(samples.shape[1:], torch.nan)
    if len(first) < 2:
        unknown = torch.full_like(value, torch.inf)
        return Mean(value, unknown, unknown, count)
    error = first.std(0) / sqrt(count)
    return Mean(value, error, quantile(len(first) - 1, confidence) * error, count)


def needed(samples: Tensor, pilot: int, half: float, confidence: float = 0.95) -> float:
    """How many samples make an interval of half width ``half``: from the first ``pilot`` of ``samples`` (count,)."""
    spread = float(samples[:pilot].std())
    if spread == 0:
        return pilot
    return inf if half == 0 else max(pilot, (quantile(pilot - 1, confidence) * spread / half) ** 2)


def within(t: float, freedom: int) -> float:
    """P(|T| < t) for Student's T, a finite sum for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    θ = atan(t / sqrt(freedom))
    c, total = cos(θ), 0.0
    if freedom % 2:
        term = c
        for j in range(3, freedom + 1, 2):
            total, term = total + term, term * c * c * (j - 1) / j
        return 2 / pi * (θ + sin(θ) * total)
    term = 1.0
    for j in range(2, freedom + 1, 2):
        total, term = total + term, term * c * c * (j - 1) / j
    return sin(θ) * total


@cache
def quantile(freedom: int, confidence: float) -> float:
    """t with P(|T| < t) = ``confidence``."""
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return high
