"""Derivative: closed forms, directions, and the order of each difference quotient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.drive import drive
from calclab.errors import UserError
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.topic.derivative import Derivative

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def derivative(expr: str, at: list[float], variable: str | None = None, steps: int = 40) -> Derivative:
    return Derivative(subject=formula(name="f", expr=expr, at=at, **PLACE), steps=steps, variable=variable)


@pytest.mark.parametrize(
    ("expr", "at", "value", "slope", "direction"),
    [
        ("x**3 + 2*x**2 + x + 1", [2], 19, 21, "decrease x"),
        ("(w*3 - 10)**2", [1.5], 30.25, -33, "increase w"),
        ("x**2", [0], 0, 0, "stay"),
    ],
)
def test_value_slope_and_direction(expr: str, at: list[float], value: float, slope: float, direction: str) -> None:
    topic = derivative(expr, at)
    answer = topic.answer(topic.init())
    assert float(answer.values["value"]) == value  # type: ignore[arg-type]
    assert float(answer.values["derivative"]) == slope  # type: ignore[arg-type]
    assert answer.values["direction"] == direction


@pytest.mark.parametrize(
    ("name", "order", "rows"), [("forward", 1, (8, 14)), ("central", 2, (4, 9)), ("richardson", 4, (2, 5))]
)
def test_order_of_each_quotient(name: str, order: int, rows: tuple[int, int]) -> None:
    memory = MemorySink()
    drive(derivative("exp(sin(3*x)) + x**3", [0.7]), [memory])
    error = memory.columns[f"{name}_error"].data[slice(*rows)]
    ratios = torch.log2(error[:-1] / error[1:])
    assert torch.allclose(ratios, torch.full_like(ratios, order), atol=0.25)


def test_the_variable_can_be_named() -> None:
    topic = derivative("x**2*y + x*y**2", [1, 2], variable="y")
    assert float(topic.answer(topic.init()).values["derivative"]) == 5  # type: ignore[arg-type]
    with pytest.raises(UserError, match="variable=z"):
        derivative("x*y", [1, 2], variable="z")


@pytest.mark.parametrize(
    ("expr", "word"), [("abs(x)", "does not exist"), ("sqrt(x)", "does not exist"), ("x**2", "flat")]
)
def test_where_there_is_no_way_down(walk, expr: str, word: str) -> None:
    f = formula(name="f", expr=expr, at=[0.0], dtype=torch.float64, device="cpu")
    answer = walk(Derivative(subject=f, steps=3, variable=None)).answer
    assert word in answer.sentence
    assert answer.values["direction"] == ("stay" if word == "flat" else "undefined")
