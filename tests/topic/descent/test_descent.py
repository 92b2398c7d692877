"""Descent: exact paths on quadratics, named ends, and the truth at 50 digits through the topic itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.core import Function, Status, Verdict
from calclab.drive import drive
from calclab.errors import UserError
from calclab.optimizer.rules import GradientDescent
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

TRUTH = json.loads((Path(__file__).parent.parent.parent / "truth" / "public_descent.json").read_text(encoding="utf-8"))[
    "items"
]
PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
PLAIN = [(item, run) for item in TRUTH for run in item["runs"] if run["optimizer"] == "gd"]


def descent(f: Function, lr: float, steps: int, tol: float = 0.0) -> Descent:
    never = {"every": 0}
    return Descent(
        subject=f,
        optimizer=GradientDescent(),
        lr=lr,
        steps=steps,
        tol=tol,
        batch=None,
        epochs=None,
        sharpness=never,
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )


def bowl() -> Function:
    return formula(name="bowl", expr="x**2 + y**2 - 2*x - 4*y + 5", at=[0, 0], minima=[[1, 2]], **PLACE)


@pytest.mark.parametrize(("item", "run"), PLAIN, ids=[f"{item['function']}-{run['method']}" for item, run in PLAIN])
def test_gradient_descent_at_50_digits(item: dict[str, Any], run: dict[str, Any]) -> None:
    f = formula(name=item["function"], expr=item["expr"], variables=item["vars"], at=item["start"], **PLACE)
    memory = MemorySink()
    scan = drive(descent(f, run["lr"], item["steps"]), [memory])
    truth = torch.tensor(run["x"], dtype=torch.float64)
    gap = (memory.columns["x"].data - truth).abs() / truth.abs().clamp(min=1)
    assert float(gap.max()) < 1e-10
    assert scan.step == item["steps"]
    values = torch.tensor(run["value"], dtype=torch.float64)
    assert torch.allclose(memory.columns["loss"].data, values, rtol=1e-9, atol=1e-12)
    assert {row.verdict for row in scan.evidence} <= {Verdict.CERTIFIED, Verdict.CONSISTENT}


def test_step_length_is_the_way_from_the_row_before() -> None:
    memory = MemorySink()
    drive(descent(bowl(), 0.1, 12), [memory])
    x, length = memory.columns["x"].data, memory.columns["step_length"].data
    assert float(length[0]) == 0
    assert torch.allclose(length[1:], (x[1:] - x[:-1]).norm(dim=1), rtol=1e-13)


@pytest.mark.parametrize(
    ("expr", "at", "lr", "status"),
    [
        ("x**2 + y**2", [1, 2], 0.4, Status.CONVERGED),
        ("x**2 + y**2", [1, 2], 1e-6, Status.COMPLETED),
        ("x**2 + y**2", [1, 2], 1.5, Status.DIVERGED),
        ("-x - y", [1, 2], 1e12, Status.DIVERGED),
        ("log(x) + y**2", [1, 2], 5.0, Status.NONFINITE),
    ],
)
def test_every_end_has_its_status(expr: str, at: list[float], lr: float, status: Status) -> None:
    scan = drive(descent(formula(name="f", expr=expr, at=at, **PLACE), lr, 300, tol=1e-6), [])
    assert scan.status is status


def test_runaway_is_measured_from_the_start() -> None:
    far = formula(name="f", expr="(x - 1000000)**2 + (y - 3)**2", at=[1, 1], **PLACE)  # begins at a loss of 1e12
    assert drive(descent(far, 0.4, 300, tol=1e-6), []).status is Status.CONVERGED


def test_answer_names_the_distance_to_the_minimum() -> None:
    topic = descent(bowl(), 0.1, 10)
    answer = topic.answer(drive(topic, []).state)
    assert float(answer.values["distance_to_minimum"]) == pytest.approx(0.8**10 * 5**0.5, rel=1e-12)  # type: ignore[arg-type]


def test_a_vector_function_is_refused() -> None:
    f = formula(name="f", expr=["x", "y"], at=[1, 1], **PLACE)
    with pytest.raises(UserError, match="outputs"):
        descent(f, 0.1, 10)


def test_step_is_pure() -> None:
    topic = descent(bowl(), 0.1, 10)
    first, _ = topic.step(topic.init(), 0)
    kept = {name: value.clone() for name, value in first.items() if isinstance(value, torch.Tensor)}
    one, two = topic.step(first, 1), topic.step(first, 1)
    assert all(torch.equal(first[name], value) for name, value in kept.items())
    assert torch.equal(one[0]["x"], two[0]["x"])
