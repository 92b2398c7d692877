"""The budget is kept, and shared out so that cheap looks are frequent. The clock of these trainings is made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import calclab
from calclab.watch.moment import Moment, Reading
from calclab.watch.schedule import Schedule, shared


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def carried(
    costs: dict[str, float], steps: int, budget: float | None, every: int = 10, pace: float = 1.0
) -> tuple[Schedule, dict[str, list[int]], list[float]]:
    """A training of ``steps``; each look takes what it costs, the first time three times as long."""
    clock = Clock()
    schedule = Schedule(dict.fromkeys(costs, 1.0), every, budget, clock=clock)
    taken: dict[str, list[int]] = {name: [] for name in costs}
    shares = []
    for k in range(1, steps + 1):
        clock.now += pace
        schedule.enter()
        for name in schedule.due(k):
            seconds = costs[name] * pace * (1 if taken[name] else 3)
            clock.now += seconds
            schedule.took(name, k, seconds)
            taken[name].append(k)
        schedule.leave()
        shares.append(schedule.spent / max(schedule.trained, 1e-9))
    return schedule, taken, shares


def test_without_a_budget_all_is_due_when_it_is_due() -> None:
    _, taken, _ = carried({"cheap": 0.1, "dear": 1000.0}, 40, None)
    assert taken == {"cheap": [10, 20, 30, 40], "dear": [10, 20, 30, 40]}


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.5])
def test_the_budget_is_kept_once_the_first_looks_are_paid_for(budget: float) -> None:
    """A first look may cost more than guessed; nothing else is spent until that is made up for."""
    costs = {"cheap": 0.05, "middling": 2.0, "dear": 30.0}
    schedule, taken, shares = carried(costs, 40_000, budget)
    assert max(shares[20_000:]) <= budget * 1.005
    assert shares[-1] > 0.75 * budget or all(schedule.intervals()[name] == 10 for name in costs)  # and made use of
    counts = [len(taken[name]) for name in costs]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 5  # the dear one has its share
    assert all(k % 10 == 0 for steps in taken.values() for k in steps)


def test_shares_follow_cost() -> None:
    """Together within the budget; who asks for less than an equal share is taken every time."""
    costs = {"a": 0.1, "b": 1.0, "c": 5.0, "d": 80.0}
    for budget in (0.01, 0.05, 0.2):
        after = shared(costs, 50, budget)
        assert sum(costs[name] / after[name] for name in costs) <= budget * (1 + 1e-9)
        assert all(after[name] % 50 == 0 for name in costs)
    assert shared(costs, 50, 10.0) == dict.fromkeys(costs, 50)
    assert shared({"a": 0.0}, 50, 0.05) == {"a": 50}


def test_a_step_of_no_time_is_no_fault() -> None:
    schedule, taken, _ = carried({"cheap": 0.1}, 30, 0.05, pace=0.0)
    assert schedule.trained == 0
    assert taken["cheap"] == [10, 20, 30]


class Slow:
    """A look that moves the clock."""

    name, cost = "slow", 1.0

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def take(self, moment: Moment) -> list[Reading]:
        self.clock.now += self.seconds
        return [Reading("slow/one", 1.0)]


def test_the_watch_keeps_and_reports_its_budget() -> None:
    clock = Clock()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    slow = Slow(clock, 4.0)
    watch = calclab.Watch(model, nn.MSELoss(), optimizer, every=10, budget=0.05, quantities=[slow], clock=clock)
    for _ in range(1000):
        clock.now += 1.0
        optimizer.step()
        watch.step()
    assert 0.03 < watch.spent <= 0.05
    assert set(watch.values.step.diff().dropna()[4:]) <= {0, 80}
    cost = watch.values[watch.values.name == "watch/cost"]
    assert len(cost) == (watch.values.name == "slow/one").sum()
    assert "of 5 % allowed" in repr(watch)


@pytest.mark.parametrize(("fixed", "most"), [(0.02, 0.05), (0.3, 0.325)])
def test_what_attends_every_step_does_not_starve_looks(fixed: float, most: float) -> None:
    """It is taken off the budget; where it is more than that, looks still have half of it."""
    clock = Clock()
    schedule = Schedule({"look": 1.0}, 10, 0.05, clock=clock)
    taken = 0
    for k in range(1, 5001):
        clock.now += 1.0
        schedule.attend(fixed)
        clock.now += fixed
        schedule.enter()
        if schedule.due(k):
            clock.now += 1.0
            schedule.took("look", k, 1.0)
            taken += 1
        schedule.leave()
    assert schedule.trained == pytest.approx(4999, rel=1e-6)
    assert taken * 1.0 >= 0.02 * 5000
    assert schedule.spent <= most * 1.001 * schedule.trained
