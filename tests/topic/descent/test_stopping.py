"""Running away: measured by the size at the start, which is never less than 1."""

from __future__ import annotations

import torch

from calclab.topic.descent.stopping import RUNAWAY, runs_away, sizes


def test_sizes_are_at_least_one_and_finite() -> None:
    loss, norm = torch.tensor([-3.0, 0.1, torch.nan, torch.inf]), torch.tensor([0.0, 5.0, torch.inf, torch.nan])
    f0, g0 = sizes(loss, norm)
    assert f0.tolist() == [3, 1, 1, 1]
    assert g0.tolist() == [1, 5, 1, 1]


def test_either_of_the_two_running_away_is_enough() -> None:
    loss = torch.tensor([0.0, -4.0, 0.0, 2.0, torch.nan], dtype=torch.float64) * RUNAWAY
    norm = torch.tensor([0.0, 0.0, 4.0, 3.0, 0.0], dtype=torch.float64) * RUNAWAY
    assert runs_away(loss, norm, (2.0, 3.0)).tolist() == [False, True, True, False, False]
    each = torch.full((5,), 5.0, dtype=torch.float64)
    assert not bool(runs_away(loss, norm, (each, each)).any())
