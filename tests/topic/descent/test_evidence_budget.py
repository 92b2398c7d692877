"""evidence=0.1|full|off: how much of a run its evidence may take; start and end are always looked at, but for off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import calclab


def steps_seen(**knobs: Any) -> list[int]:
    torch.manual_seed(0)
    rows = torch.randn(20, 3, dtype=torch.float64)
    subject = calclab.loss(nn.Linear(3, 2).double(), nn.MSELoss(), (rows, rows[:, :2]))
    result = calclab.descent(subject, optimizer="gd", lr=1e-3, tol=0, figures=False, **knobs)
    return sorted(set(result.evidence["step"]))


@pytest.mark.parametrize(
    ("knobs", "seen"),
    [
        ({"steps": 50}, 2),
        ({"steps": 50, "evidence": "full"}, 6),
        ({"steps": 600}, 6),
        ({"steps": 300, "evidence": 0.1}, 4),
        ({"steps": 300, "evidence": 0}, 2),
    ],
)
def test_what_is_seen_grows_with_the_run(knobs: dict[str, Any], seen: int) -> None:
    found = steps_seen(**knobs)
    assert abs(len(found) - seen) <= 1
    assert {0, knobs["steps"]} <= set(found)


def test_off_says_so() -> None:
    f = calclab.formula("x**2", at=[1.0])
    result = calclab.descent(f, lr=0.1, steps=5, evidence="off", figures=False)
    assert result.evidence.empty
    assert "no number of this run was checked" in str(result)


@pytest.mark.parametrize("value", ["none", -0.1, 1.5, True, [0.1], float("nan")])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(calclab.UserError, match=r"evidence=0\.1"):
        calclab.descent(calclab.formula("x**2", at=[1.0]), evidence=value)
