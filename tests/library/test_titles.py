"""The line under the titles of pictures: the point or network and data, the method and its rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import calclab

BOWL = calclab.formula("x**2 + 3*y**2", at=[1, 0.5])


@pytest.mark.parametrize(
    ("knobs", "parts"),
    [
        ({}, ["from (1, 0.5)", "gradient descent", "lr = 0.05"]),
        ({"optimizer": "adam", "lr": 0.25}, ["from (1, 0.5)", "Adam", "lr = 0.25"]),
        (
            {"optimizer": {"name": "momentum", "momentum": 0.5}, "schedule": "cosine"},
            ["from (1, 0.5)", "Momentum", "Cosine", "lr = 0.05", "momentum = 0.5"],
        ),
    ],
)
def test_a_descent_tells_its_start_its_method_and_its_rate(knobs: dict[str, object], parts: list[str]) -> None:
    knobs = {"lr": 0.05, **knobs}
    assert calclab.descent(BOWL, steps=2, **knobs).run.about.split("  ·  ") == parts


def test_a_network_tells_its_size_its_rows_and_its_loss() -> None:
    rows = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    about = calclab.loss(nn.Linear(3, 1).double(), "mse", (rows, rows[:, :1]))
    parts = calclab.descent(about, steps=1, lr=0.1).run.about.split("  ·  ")
    assert parts[0] == "4 parameters"
    assert parts[1].endswith("7 rows")
    assert parts[2:] == ["mse", "gradient descent", "lr = 0.1"]


def test_long_points_are_left_out_and_short_ones_named() -> None:
    assert calclab.derivative(calclab.formula("x**2", at=3)).run.about == "at x = 3"
    assert calclab.hessian(calclab.formula("sum(i, 0, n - 1, x[i]**2)", at=[1], n=9)).run.about == ""


@pytest.mark.parametrize("format", ["svg", "pdf"])
def test_a_result_is_saved_with_the_pictures_that_were_asked_for(tmp_path: Path, format: str) -> None:
    folder = calclab.derivative(calclab.formula("x**2", at=3), figures=format).save(tmp_path / "run")
    assert {path.suffix for path in folder.iterdir()} >= {f".{format}"}
    assert not list(folder.glob("*.png"))
    assert (folder / f"tangent.{format}").stat().st_size > 1000
