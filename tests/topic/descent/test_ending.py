"""Where in a block runs end: each at the first step that says so, side by side as alone."""

from __future__ import annotations

from math import inf, nan

import torch

from calclab.core import Column, Status
from calclab.topic.descent.stopping import stops

STEPS = [5, 6, 7]
LOSS = [[1.0, 1.0, 1.0], [1.0, inf, nan], [1.0, 1e11, 1e12], [1.0, 1.0, inf]]  # of four runs
SIZE = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.01, 1.0]]
ENDS = [None, (6, Status.NONFINITE), (6, Status.DIVERGED), (6, Status.CONVERGED)]


def columns(loss: object, size: object) -> dict[str, Column]:
    tables = {"loss": loss, "gradient_norm": size}
    return {
        name: Column(STEPS, torch.tensor(table, dtype=torch.float64).movedim(-1, 0)) for name, table in tables.items()
    }


def test_each_run_ends_at_its_first_reason() -> None:
    """An infinite loss is beyond every bound too: it is said to be nonfinite."""
    scale = (torch.ones(4), torch.ones(4))
    assert stops(columns(LOSS, SIZE), torch.full((4,), 0.1), scale, settles=True) == ENDS
    for loss, size, end in zip(LOSS, SIZE, ENDS, strict=True):
        assert stops(columns(loss, size), 0.1, (1.0, 1.0), settles=True) == [end]


def test_of_minibatches_nothing_settles() -> None:
    assert stops(columns(LOSS[3], SIZE[3]), 0.1, (1.0, 1.0), settles=False) == [(7, Status.NONFINITE)]


def test_each_run_has_its_own_tolerance_and_scale() -> None:
    found = stops(
        columns(LOSS[2:], SIZE[2:]), torch.tensor([0.0, 0.001]), (torch.tensor([1e3, 1.0]), torch.ones(2)), settles=True
    )
    assert found == [None, (7, Status.NONFINITE)]
