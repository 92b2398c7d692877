"""conf/optimizer, conf/schedule and conf/line_search: each option builds, and has its knobs, ranges and description."""

from __future__ import annotations

import functools
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
import yaml

from calclab import schema
from calclab.core import Function, Point
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import as_rule
from calclab.optimizer.rules import GradientDescent

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = [
    (group, path.stem)
    for group in ("optimizer", "schedule", "line_search")
    for path in sorted((CONF / group).iterdir())
]
EXTRA: dict[str, dict[str, Any]] = {
    "optimizer": {},
    "schedule": {"steps": 50},
    "line_search": {"rule": GradientDescent()},
}


def plain(group: str, option: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_keys_are_those_of_the_schema_and_values_in_range(group: str, option: str) -> None:
    entry = plain(group, option)
    entry.pop("_target_")
    knobs = schema.find(group, option)
    assert set(knobs) == set(entry)
    for name, value in entry.items():
        knobs[name].check(value)
    for name, knob in knobs.items():
        knob.check(float(knob.example) if knob.base is float else yaml.safe_load(str(knob.example)), name)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_the_first_line_describes_the_option(group: str, option: str) -> None:
    assert (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[1] != "custom"])
def test_the_target_takes_the_keys(group: str, option: str) -> None:
    entry = plain(group, option)
    made = functools.partial(resolve_name(entry.pop("_target_")), **EXTRA[group])
    knobs = {name: value for name, value in entry.items() if (group, name) != ("optimizer", "lr")}
    if group == "schedule":
        assert 0 <= made(**knobs)(0) <= 1
        return
    rule = as_rule(functools.partial(made.func, **made.keywords, **knobs))
    outputs = lambda x: x * torch.tensor([1.0, 3.0]).double()  # noqa: E731
    square = lambda y: (y * y).sum() / 2  # noqa: E731
    f = Function(
        "f", lambda x: square(outputs(x)), torch.tensor([1.0, -2.0]).double(), ("x", "y"), split=(outputs, square)
    )
    loss, g = loss_and_gradient(f, f.start)
    move, state = rule.update(Point(f.start, loss, g, f), rule.init(f.start), entry.get("lr", 0.1))
    assert float(f.call(f.start + move)) < float(loss)
    assert all(isinstance(value, torch.Tensor | dict) for value in state.values())
