"""Rows to learn from and rows held out, by a seeded permutation; of classes the same fraction each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from calclab.errors import UserError

STREAM = 0  # sets these draws apart from others of the same seed


def split(name: str, targets: Tensor, fraction: float, *, classification: bool, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers, ascending, of the rows to learn from and of those held out: round(fraction · B) of B = len(targets).

    Of class c, quota_c rows are held out: fraction · B_c, rounded by largest remainders, and never a whole class.
    """
    labels = targets if classification else torch.zeros(len(targets), dtype=torch.int64)
    sizes = labels.bincount()
    quota = quotas(sizes, fraction)
    if not int(quota.sum()):
        within = " without a class losing its last one" if classification else ""
        raise UserError(
            f"data.held_out={fraction:g}: of the {len(labels)} rows of {name}, none can be held out{within}. "
            "Type a larger fraction, or data.held_out=0"
        )
    words = np.random.SeedSequence(seed, spawn_key=(STREAM,)).generate_state(1, np.uint64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(int(words[0])))
    order = order[labels[order].argsort(stable=True)]  # class after class, each in random order
    place = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[order]]  # within its class
    out = place < quota[labels[order]]
    return order[~out].sort().values, order[out].sort().values


def quotas(sizes: Tensor, fraction: float) -> Tensor:
    """How many rows of each class to hold out: their sum is round(fraction · Σ sizes) where no class is used up."""
    exact = fraction * sizes.double()
    quota = exact.floor().long()
    missing = round(float(exact.sum())) - int(quota.sum())
    quota[(exact - quota).argsort(descending=True, stable=True)[:missing]] += 1
    return torch.minimum(quota, (sizes - 1).clamp(min=0))
