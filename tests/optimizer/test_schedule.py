"""Schedules give torch's sequences, and stay where torch's would come up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from calclab.errors import UserError
from calclab.optimizer.schedule import Constant, Cosine, Exponential, Linear, Step, Warmup

LR, STEPS = 0.3, 60
Maker = Callable[[torch.optim.Optimizer], Any]


def warmup(optimizer: torch.optim.Optimizer, then: Any) -> Any:
    first = torch_schedules.LinearLR(optimizer, start_factor=0.1, total_iters=15)
    return torch_schedules.SequentialLR(optimizer, [first, then], milestones=[15])


PAIRS: list[tuple[Callable[[int], float], Maker]] = [
    (Constant(steps=STEPS), lambda o: torch_schedules.ConstantLR(o, factor=1.0)),
    (Step(steps=STEPS, every=7, factor=0.6), lambda o: torch_schedules.StepLR(o, step_size=7, gamma=0.6)),
    (Exponential(steps=STEPS, factor=0.95), lambda o: torch_schedules.ExponentialLR(o, gamma=0.95)),
    (
        Linear(steps=STEPS, start=0.2, end=0.9, over=25),
        lambda o: torch_schedules.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=25),
    ),
    (
        Cosine(steps=STEPS, floor=0.05, over=None),
        lambda o: torch_schedules.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.05 * LR),
    ),
    (
        Warmup(steps=STEPS, over=15, start=0.1, then="constant", floor=0.0),
        lambda o: warmup(o, torch_schedules.ConstantLR(o, factor=1.0)),
    ),
    (
        Warmup(steps=STEPS, over=15, start=0.1, then="cosine", floor=0.05),
        lambda o: warmup(o, torch_schedules.CosineAnnealingLR(o, T_max=STEPS - 15, eta_min=0.05 * LR)),
    ),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("own", "made"), PAIRS, ids=[type(own).__name__ for own, _ in PAIRS])
def test_the_sequence_of_torch(own: Callable[[int], float], made: Maker) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    other, theirs = made(optimizer), []
    for _ in range(STEPS):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        other.step()
    assert [LR * own(k) for k in range(STEPS)] == pytest.approx(theirs, rel=1e-12)


def test_a_cosine_goes_from_one_to_its_floor_and_stays() -> None:
    cosine = Cosine(steps=100, floor=0.2, over=40)
    assert cosine(0) == 1
    assert cosine(20) == pytest.approx(0.6)
    assert [cosine(k) for k in (40, 41, 99)] == pytest.approx([0.2] * 3)
    assert all(cosine(k) > cosine(k + 1) for k in range(40))


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_runs_shorter_than_their_warmup(steps: int) -> None:
    factors = [Warmup(steps=steps, over=10, start=0.1, then="cosine", floor=0.0)(k) for k in range(steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert Cosine(steps=0, floor=0.1, over=None)(0) == pytest.approx(0.1)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="factor=2"):
        Exponential(steps=1, factor=2.0)
    with pytest.raises(UserError, match="constant, cosine"):
        Warmup(steps=1, over=1, start=0.1, then="step", floor=0.0)
