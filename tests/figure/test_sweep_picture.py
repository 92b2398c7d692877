"""The record of a sweep's picture, and that every kind of sweep can be drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calclab.figure.draw.canvas import png
from calclab.figure.draw.sweep import draw_sweep
from calclab.figure.record.scale import geometric
from calclab.figure.record.sweep import COLOURED, LISTED, Trials, Value, sweep

RATES = [10.0 ** (k / 4 - 4) for k in range(17)]


def grid(knobs: Mapping[str, Sequence[Value]], f: Callable[..., float | None], **more: Any) -> Trials:
    """Every combination; infinity is a job that ran away."""
    rows = list(itertools.product(*knobs.values()))
    ys = [f(*row) for row in rows]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(knobs)}
    lost = [y == math.inf for y in ys]
    return Trials(
        columns, [None if away else y for y, away in zip(ys, lost, strict=True)], lost, range(len(rows)), **more
    )


def test_a_line_for_each_category_over_each_number() -> None:
    made = sweep(grid({"optimizer": ["gd", "adam"], "lr": RATES}, lambda o, lr: lr + len(o)), "loss", 0, "t")
    assert made is not None
    (panel,) = made.knobs
    assert (panel.knob, panel.log) == ("lr", True)
    for group, name in zip(panel.groups, ("gd", "adam"), strict=True):
        assert group.name == name
        assert group.best == group.dots == tuple((lr, lr + len(name)) for lr in RATES)


def test_what_ran_away_is_marked_at_its_value_and_nowhere_else() -> None:
    made = sweep(grid({"lr": RATES}, lambda lr: math.inf if lr > 0.01 else 1 - lr), "loss", 0, "t")
    assert made is not None
    (group,) = made.knobs[0].groups
    assert group.lost == tuple(lr for lr in RATES if lr > 0.01)
    assert [x for x, _ in group.dots] == [lr for lr in RATES if lr <= 0.01]


def test_the_limit_is_drawn_on_its_own_knob_and_for_each_category() -> None:
    limits = {0.0: 0.1, 0.9: 0.19}
    trials = grid({"lr": RATES, "momentum": list(limits)}, lambda lr, m: lr + m)
    momentum = trials.knobs["momentum"]
    made = sweep(Trials(**vars(trials) | {"limits": [limits[m] for m in momentum]}), "loss", 0, "t")  # type: ignore[index]
    assert made is not None
    rates, other = made.knobs
    assert [group.limits for group in rates.groups] == [(limit, limit) for limit in limits.values()]
    assert all(not group.limits for group in other.groups)


def test_the_line_is_the_best_of_what_else_was_swept_and_the_median_of_seeds() -> None:
    seeds = [1.0, 2.0, 3.0]
    rows = list(itertools.product(RATES, [0.0, 1.0], seeds))
    ys = [lr + m + (seed - 2) / 100 for lr, m, seed in rows]
    settings = [i // len(seeds) for i in range(len(rows))]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("lr", "momentum", "seed"))}
    made = sweep(Trials(columns, ys, [False] * len(rows), settings), "loss", None, "t")
    assert made is not None
    assert [panel.knob for panel in made.knobs] == ["lr", "momentum"]
    over = dict(made.knobs[1].groups[0].best)
    assert over == {m: pytest.approx(min(RATES) + m) for m in (0.0, 1.0)}


def test_words_have_rows_the_best_on_top_and_of_many_the_best() -> None:
    names = [f"n{k:02}" for k in range(LISTED + 6)]
    made = sweep(grid({"network": names[::-1]}, lambda name: float(name[1:])), "loss", 0, "t")
    assert made is not None
    (panel,) = made.knobs
    assert panel.names == tuple(names[:LISTED])
    assert f"the best {LISTED} of {len(names)}" in made.note


def test_more_words_than_colours_have_rows_beside_the_numbers() -> None:
    words = [f"n{k}" for k in range(COLOURED + 1)]
    made = sweep(grid({"lr": RATES, "network": words}, lambda lr, word: lr), "loss", 0, "t")
    assert made is not None
    assert [bool(panel.names) for panel in made.knobs] == [False, True]


def test_the_other_question_is_a_colour_and_never_a_row() -> None:
    made = sweep(grid({"function": ["a", "b"]}, lambda f: 1.0, apart=frozenset({"function"})), "loss", 0, "t")
    assert made is None


def test_a_few_that_nearly_ran_away_do_not_press_the_others_flat() -> None:
    made = sweep(grid({"lr": [*RATES, 20.0]}, lambda lr: 1e12 if lr > 10 else lr - 1), "loss", 0, "t")
    assert made is not None
    assert not made.log
    assert max(y for _, y in made.knobs[0].groups[0].dots) == max(RATES) - 1
    assert "1 far above the others" in made.note
    whole = sweep(grid({"lr": RATES}, lambda lr: lr - 1), "loss", 0, "t")
    assert whole is not None
    assert not whole.note


@given(st.floats(1e-6, 1e3), st.floats(20, 1e6), st.integers(3, 200))
def test_spacing_is_seen_from_the_values(low: float, ratio: float, count: int) -> None:
    high = low * ratio
    assert geometric([low * ratio ** (i / (count - 1)) for i in range(count)])
    assert not geometric([low + (high - low) * i / (count - 1) for i in range(count)])


@pytest.mark.parametrize(
    "trials",
    [
        grid({"lr": RATES[:1]}, lambda lr: 1.0),
        grid({"lr": RATES}, lambda lr: 0.0),
        grid({"lr": RATES}, lambda lr: 0.0 if lr > 0.01 else lr),
        grid({"lr": RATES}, lambda lr: -lr * 1e200),
        grid({"lr": RATES, "optimizer": ["$a_{b$", "×"]}, lambda lr, o: math.inf if o == "×" else lr),
        grid({"lr": [-1.0, 0.0, 1.0]}, lambda lr: lr),
        grid({"a": [0.0, 1.0], "b": [0.0, 1.0], "c": ["x", "y"], "d": [1.0, 2.0]}, lambda *v: None if v[0] else 1.0),
        grid({"lr": RATES * 20, "optimizer": list("abcdefghijkl")}, lambda lr, o: 1e-300 * lr),
    ],
)
def test_every_sweep_can_be_drawn(trials: Trials) -> None:
    made = sweep(trials, "loss", 0, "a long title " * 20)
    assert made is None or png(draw_sweep(made)).startswith(b"\x89PNG")
    assert (
        sweep(Trials(trials.knobs, [None] * len(trials.objective), trials.lost, trials.settings), "loss", None, "")
        is None
    )


@pytest.mark.parametrize("values", [[-1.02422, -1.03163, -1.02801], [1000.01, 1000.03, 1000.02], [3.0, 4000.0, 90.0]])
def test_the_ticks_of_the_objective_can_be_told_apart(values: list[float]) -> None:
    made = sweep(grid({"lr": [0.001, 0.01, 0.1]}, lambda lr: values[round(math.log10(lr)) + 3]), "loss", 0, "t")
    assert made is not None
    axis = draw_sweep(made).axes[0].yaxis
    texts = [tick.get_text() for tick in axis.get_ticklabels()]
    assert len(set(texts)) == len(texts) > 2
