"""Theory beside practice: what is announced before a run, and where the run says that it ended."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.core import Status
from calclab.drive import drive
from calclab.optimizer.rules import GradientDescent
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def descent(expr: str, at: list[float], lr: float, steps: int = 2000, tol: float = 1e-8) -> Descent:
    f = formula(name="f", expr=expr, at=at, **PLACE)
    return Descent(
        subject=f,
        optimizer=GradientDescent(),
        lr=lr,
        steps=steps,
        tol=tol,
        batch=None,
        epochs=None,
        sharpness={"every": 0},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )


@pytest.mark.parametrize(("lr", "doomed"), [(0.0999, False), (0.1001, True)])
def test_a_quadratic_must_diverge_above_two_over_lambda(lr: float, doomed: bool) -> None:
    topic = descent("x**2 + 10*y**2", [1, 1], lr, steps=200_000)
    assert any("must diverge" in note for note in topic.notes()) == doomed
    assert (drive(topic, []).status is Status.DIVERGED) == doomed


def test_no_divergence_is_promised_on_a_stable_direction() -> None:
    topic = descent("x**2 + 10*y**2", [1, 0], 0.5)  # unstable along y only, and y stays 0
    assert not any("must diverge" in note for note in topic.notes())
    assert drive(topic, []).status is Status.CONVERGED


def test_predicted_steps_are_the_steps_taken() -> None:
    topic = descent("x**2 + 10*y**2", [1, 1], 0.02)
    values = topic.answer(drive(topic, []).state).values
    assert float(values["largest_stable_lr"]) == pytest.approx(0.1)  # type: ignore[arg-type]
    assert float(values["best_lr"]) == pytest.approx(2 / 22)  # type: ignore[arg-type]
    assert float(values["best_contraction"]) == pytest.approx(9 / 11)  # type: ignore[arg-type]
    assert float(values["predicted_contraction"]) == pytest.approx(0.96)  # type: ignore[arg-type]
    taken = drive(topic, []).step
    assert float(values["expected_steps"]) == pytest.approx(taken, rel=0.15)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expr", "at", "lr", "steps", "word"),
    [
        ("x**2 + y**2", [1, 2], 0.1, 500, "minimum"),
        ("x**2 - y**2", [1, 0], 0.1, 500, "saddle"),
        ("-x**2 - y**2", [0, 0], 0.1, 5, "maximum"),
        ("x**2 + 0*y", [1, 2], 0.1, 500, "flat"),
        ("x**2 + y**2", [1, 2], 0.001, 5, "moving"),
        ("x**2 + y**2", [1, 2], 5.0, 500, "diverged"),
        ("log(x) + y**2", [1, 2], 5.0, 50, "nonfinite"),
    ],
)
def test_where_it_ended(expr: str, at: list[float], lr: float, steps: int, word: str) -> None:
    topic = descent(expr, at, lr, steps)
    answer = topic.answer(drive(topic, []).state)
    assert answer.values["ended"] == word
