"""Runs that walk together have the bits that they have alone, each with its own end and its own evidence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.core import Function, Rule, Status
from calclab.drive import drive
from calclab.optimizer.adaptive import Adam
from calclab.optimizer.rules import GradientDescent, Momentum
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.together import obstacle, walk
from calclab.topic.descent import Descent

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def valley(at: list[float]) -> Function:
    expr = "100*(x1 - x0**2)**2 + (1 - x0)**2"
    return formula(name="rosenbrock", expr=expr, at=at, minima=[[1, 1]], **PLACE)


def descent(f: Function, rule: Rule, lr: float, steps: int = 400, every: int = 0) -> Descent:
    return Descent(
        subject=f,
        optimizer=rule,
        lr=lr,
        steps=steps,
        tol=1e-3,
        batch=None,
        epochs=None,
        sharpness={"every": every},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )


def momenta() -> list[Descent]:
    return [descent(valley([-1.2, 1]), Momentum(momentum=m), lr) for m in (0.5, 0.9) for lr in (1e-4, 1e-3)]


GROUPS = {
    "rates": lambda: [descent(valley([-1.2, 1]), GradientDescent(), 10.0**-k) for k in range(1, 7)],
    "momenta": momenta,
    "starts": lambda: [descent(valley([a, 1]), Adam(beta1=0.9, beta2=0.999, eps=1e-8), 0.3) for a in (-1, 0.5, 3)],
}


@pytest.mark.parametrize("name", GROUPS)
def test_each_run_is_the_one_it_would_have_been_alone(name: str) -> None:
    topics = GROUPS[name]()
    for topic, (scan, columns) in zip(topics, walk(topics), strict=True):
        memory = MemorySink()
        alone = drive(topic, [memory])
        assert (scan.status, scan.step) == (alone.status, alone.step)
        assert set(columns) == set(memory.columns)
        for key, column in memory.columns.items():
            assert list(columns[key].steps) == list(column.steps)
            assert torch.equal(columns[key].data.nan_to_num(), column.data.nan_to_num()), key
        assert [(r.step, r.quantity, r.value, r.verdict) for r in scan.evidence] == [
            (r.step, r.quantity, r.value, r.verdict) for r in alone.evidence
        ]
        assert topic.answer(scan.state).sentence == topic.answer(alone.state).sentence


def test_each_ends_at_its_own_time() -> None:
    topics = [descent(valley([1.001, 1.002]), GradientDescent(), lr) for lr in (1e-7, 1e-3, 1.0)]
    ends = [(scan.status, scan.step) for scan, _ in walk(topics)]
    assert [status for status, _ in ends] == [Status.COMPLETED, Status.CONVERGED, Status.DIVERGED]
    assert ends[0][1] == 400
    assert 0 < ends[1][1] < 400
    assert 0 < ends[2][1] < 20


def test_a_signal_ends_the_walk_with_nothing_to_write() -> None:
    assert list(walk(momenta(), received=[2])) == []


def test_what_cannot_walk_with_others_says_why() -> None:
    assert obstacle(descent(valley([1, 1]), GradientDescent(), 0.1)) == ""
    assert "one point at a time" in obstacle(descent(valley([1, 1]), GradientDescent(), 0.1, every=5))
