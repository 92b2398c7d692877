"""Optuna's own pictures of a search, and that they leave nothing of their style behind."""

from __future__ import annotations

from typing import Any

import pytest

optuna = pytest.importorskip("optuna", minversion="4.0", reason="pip install 'calclab[optuna]'")
import matplotlib  # noqa: E402

from calclab.figure.draw.search import WIDTHS, draw_search  # noqa: E402


def study(values: list[float], knobs: int = 2, direction: str = "minimize") -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for value in values:
        trial = made.ask()
        for k in range(knobs):
            trial.suggest_float(f"knob.{k}", 1e-3, 1.0, log=k == 0)
        made.tell(trial, value)
    return made


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("values", [[1.0, 1e-9, 3.0, 1e-4], [0.0, 0.0, 5.0, 60.0], [-1.0, 2.0, -3.0, 0.5]])
def test_a_search_has_three_pictures(values: list[float], direction: str) -> None:
    before = dict(matplotlib.rcParams)
    made = dict(draw_search(study(values, direction=direction), "loss"))
    assert list(made) == list(WIDTHS)
    assert all(content.startswith(b"\x89PNG") for content in made.values())
    after = dict(matplotlib.rcParams)
    assert {key for key in after if after[key] != before[key]} <= {"backend"}


def test_the_importance_is_the_same_each_time() -> None:
    made = study([1.0, 2.0, 4.0, 3.0, 7.0])
    first, second = (dict(draw_search(made, "loss"))["knob_importance"] for _ in range(2))
    assert first == second


def test_what_nothing_can_be_said_of_is_not_drawn() -> None:
    assert not list(draw_search(study([1.0]), "loss"))
    assert list(dict(draw_search(study([1.0, 2.0], knobs=1), "loss"))) == ["history"]
    assert "history" in dict(draw_search(study([2.0, 2.0, 2.0]), "loss"))
