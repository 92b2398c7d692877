"""calclab compare: what differs, which ends best, the curves in letters, as a picture and as a page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calclab.app import main as lab
from calclab.archive.run import read_run
from calclab.difference.command import main
from calclab.difference.compared import BESIDE, Compared
from calclab.difference.courses import LINES, letters
from calclab.difference.sides import Sides, ratio
from calclab.errors import UserError
from calclab.figure.record.scale import course
from calclab.figure.records import Line


def sides(*folders: Path) -> Sides:
    return Sides([read_run(folder) for folder in folders])


def test_only_what_differs_is_told_and_no_knob_twice(make: Any) -> None:
    """A topic's own copy of lr, Hydra's choices and where runs are written are no differences."""
    one = make(1, config={"outputs": "a", "function": {"expr": "x", "source": "s"}})
    two = make(
        2, config={"outputs": "b", "function": {"expr": "x", "source": "t"}}, choices={"hydra/launcher": "batch"}
    )
    assert sides(one, two).configuration == [("lr", [0.1, 0.2])]


def test_a_network_is_not_told_with_the_function_that_is_there_by_default(make: Any) -> None:
    own = {"function": {"expr": "x"}}
    one = make(1, config=own, choices={"function": "camel", "network": "mlp", "data": "iris"})
    two = make(2, config=own, choices={"function": "camel", "network": None, "data": None})
    told = dict(sides(one, two).configuration)
    assert told["function"] == [None, "camel"]
    assert told["network"] == ["mlp", None]
    assert not any(name.startswith("function.") for name in told)


def test_what_comes_with_another_choice_is_told_only_where_it_was_typed(make: Any) -> None:
    own = {"optimizer": {"_target_": "Adam", "beta1": 0.9}}
    gd = make(1, asked=["lr=0.1"])
    adam = make(2, asked=["lr=0.1", "optimizer=adam"], config=own, choices={"optimizer": "adam"})
    typed = make(3, asked=["lr=0.1", "optimizer.beta1=0.9"], config=own, choices={"optimizer": "adam"})
    assert [name for name, _ in sides(gd, adam).configuration] == ["optimizer"]
    assert [name for name, _ in sides(gd, typed).configuration] == ["optimizer", "optimizer.beta1"]


def test_the_same_configuration_elsewhere_differs_in_what_it_was_made_with(make: Any, capsys: Any) -> None:
    one, two = make(1, asked=["lr=0.1"]), make(2, asked=["lr=0.1"], torch="2.14")
    assert main([str(one), str(two)]) == 0
    told = capsys.readouterr().out
    assert "2 runs of one configuration, made with another torch" in told
    assert "A and B end at the same loss 1" in told


def test_two_runs_have_a_column_each_and_what_one_is_to_the_other(make: Any, capsys: Any) -> None:
    assert main([str(make(1, 4.0)), str(make(2, 1.0))]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["lr", "0.1", "0.2"] in rows
    assert ["loss", "4", "1", "×0.25"] in rows
    assert any(row[:4] == ["B", "ends", "lowest,", "at"] for row in rows)


@pytest.mark.parametrize("count", [3, BESIDE + 1, 60])
def test_lines_fit_and_the_best_is_named(make: Any, capsys: Any, count: int) -> None:
    folders = [make(k, 1.0 + (k * 7) % count) for k in range(1, count + 1)]
    assert main([str(folder) for folder in folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert f"{count} runs" in lines[1]
    if count > BESIDE:
        assert "A ends lowest, at loss 1;" in lines[2]
    assert any(f"{count - LINES} are not drawn" in line for line in lines) == (count > LINES)


def test_what_ran_away_is_counted_and_never_first(make: Any, capsys: Any) -> None:
    main([str(make(1, 4.0)), str(make(2, -math.inf, status="nonfinite"))])
    told = capsys.readouterr().out
    assert "A ends lowest, at loss 4; 1 diverged" in told


def test_answers_of_other_kinds_are_not_ranked(make: Any, capsys: Any) -> None:
    other = make(2, topic="hessian", answer={"values": {"condition": 3.0}})
    main([str(make(1)), str(other)])
    told = capsys.readouterr().out
    assert "are not ranked" in told
    assert "topic" in told


def test_the_page_stands_alone_and_escapes_every_name(make: Any, capsys: Any, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    one = make(1, config={"note": bad}, asked=["lr=0.1"], title=bad)
    two = make(2, config={"note": "x"}, asked=["lr=0.1"], title=bad)
    assert main([str(one), str(two), "html=page.html", "--png", "curves.png"]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert bad not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("end", ["svg", "pdf"])
def test_curves_are_drawn_as_vectors_too(make: Any, tmp_path: Path, end: str) -> None:
    main([str(make(1)), str(make(2)), f"--{end}=c.{end}"])
    assert (tmp_path / f"c.{end}").read_bytes()[:5] in (b"<?xml", b"%PDF-")


@pytest.mark.parametrize(
    ("more", "phrase"),
    [
        (["--png", "c.gif"], "--png c.png"),
        (["--html", "c.png"], "--html c.html"),
        (["--png", "no/such/c.png"], "in a folder that is there"),
        (["--show", "los"], "There are: loss, cosine"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(make: Any, tmp_path: Path, more: list[str], phrase: str) -> None:
    runs = [str(make(1)), str(make(2))]
    there = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=phrase):
        main([*runs, *more])
    assert sorted(tmp_path.iterdir()) == there


def test_one_run_is_no_comparison_also_by_the_front_door(make: Any, capsys: Any) -> None:
    assert lab(["compare", str(make(1))]) == 2
    assert "two or more" in capsys.readouterr().err
    assert lab(["compare"]) == 2


def test_a_run_without_steps_is_compared_by_its_vectors(make: Any) -> None:
    folders = [make(1, steps=0), make(2, steps=0)]
    for k, folder in enumerate(folders, 1):
        (folder / "scalars.csv").write_text("step,loss\n0,1.0\n")
        (folder / "eigenvalues.csv").write_text(f"step,0,1,2\n0,{k},{2 * k},{3 * k}\n")
    compared = Compared([read_run(folder) for folder in folders])
    (panel,) = compared.panels
    assert [line.y for line in panel.lines] == [(1.0, 2.0, 3.0), (2.0, 4.0, 6.0)]


def test_importance_is_compared_feature_by_feature_and_not_row_by_row(make: Any) -> None:
    folders = [make(k, topic="importance") for k in (1, 2)]
    for folder in folders:
        (folder / "importance.csv").write_text("step,petal,sepal\n9,2.0,1.0\n")
    (panel,) = Compared([read_run(folder) for folder in folders]).panels
    assert panel.ticks == ("petal", "sepal")
    assert [line.y for line in panel.lines] == [(2.0, 1.0), (2.0, 1.0)]


def test_a_run_that_runs_away_does_not_press_the_others_flat(make: Any) -> None:
    calm, wild = make(1), make(2, 1e9, status="diverged")
    (panel,) = [p for p in Compared([read_run(calm), read_run(wild)]).panels if p.title == "loss"]
    first, second = panel.lines
    assert all(map(math.isfinite, first.y))
    assert not any(y > 100 * first.y[0] for y in second.y)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=30), min_size=1, max_size=4),
    st.integers(40, 120),
)
def test_curves_in_letters_keep_to_their_width_and_lose_none(heights: list[list[float]], width: int) -> None:
    lines = [Line(chr(65 + i), tuple(map(float, range(len(ys)))), tuple(ys)) for i, ys in enumerate(heights)]
    made = course("loss", "step", lines, "y")
    text = letters(made, width)
    assert all(len(row) <= width for row in text)
    body = "".join(text[1:])
    for line in made.lines:
        if len(line.x) == 1 and math.isfinite(line.y[0]):
            assert line.name in body or "*" in body


@given(st.floats(1e-3, 1e3), st.integers(2, 40))
def test_a_line_that_rises_goes_from_the_lower_left_to_the_upper_right(slope: float, count: int) -> None:
    xs = tuple(map(float, range(count)))
    rows = [
        row.partition("┤")[2] for row in letters(course("y", "step", [Line("A", xs, tuple(slope * x for x in xs))], ""))
    ]
    seen = [(i, column) for i, row in enumerate(rows) for column, mark in enumerate(row) if mark == "A"]
    assert max(seen)[1] < min(seen)[1]
    columns = [column for _, column in sorted(seen, key=lambda at: at[1])]
    assert columns == list(range(len(columns)))  # one mark in every column


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_a_ratio_says_how_many_times_the_first_the_second_is(a: float, b: float) -> None:
    told = ratio([a, b])
    assert told == "same" if a == b else float(told[1:]) == pytest.approx(b / a, rel=1e-3)
    assert ratio(["x", b]) == ratio([a]) == ratio([a, math.nan]) == ratio([True, b]) == ""
