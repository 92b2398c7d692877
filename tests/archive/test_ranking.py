"""A sweep as people read it: every width is kept, a thousand jobs stay readable, nothing is lost from the count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calclab.archive.ranking import EVERY, errors, sentences, table
from calclab.archive.sweep import Job, Sweep

WORDS = "a formula of many letters, such as sin(x)*cos(x)*exp(x)*tan(x)*x**2 + 3*x**3 + log(x)"


def made(count: int, *, lost: int = 0, failed: int = 0, long: bool = False) -> Sweep:
    """``count`` jobs over two knobs, the last of which ran away or failed."""
    jobs = []
    for k in range(count):
        status = "failed" if k >= count - failed else "diverged" if k >= count - failed - lost else "completed"
        words = (f"lr={1.0 + k / 7}", f"batch={'abc'[k % 3]}{WORDS if long else ''}", "steps=5")
        objective = None if status == "failed" else float(k)
        error = f"RuntimeError: {k % 2}" if status == "failed" else ""
        jobs.append(Job(k, words, status, objective, 5, 0.1, None, error))
    sweep = Sweep(Path("outputs/sweeps/s"), jobs)
    sweep.measure = "loss"
    return sweep


@pytest.mark.parametrize("count", [1, 2, 3, EVERY, EVERY + 1, 1000])
@pytest.mark.parametrize("long", [False, True])
def test_lines_fit_the_width(count: int, long: bool) -> None:
    sweep = made(count, lost=count // 4, long=long)
    for width in (60, 80, 120):
        assert all(len(line) <= width for line, _ in table(sweep).lines(width))


@pytest.mark.parametrize(("lost", "failed"), [(0, 0), (1, 1), (400, 0), (300, 100), (1000, 0), (0, 1000)])
def test_of_a_thousand_jobs_few_are_shown_and_all_are_counted(lost: int, failed: int) -> None:
    rows = table(made(1000, lost=lost, failed=failed)).rows
    assert len(rows) <= EVERY
    counted = sum(int(found[1]) for row in rows if (found := re.match(r"\.\.\. (\d+) ", row.words)))
    assert counted + sum(bool(row.cells) for row in rows) == 1000 - failed
    best = [row for row in rows if row.cells and row.status == "completed"]
    assert [row.cells[0] for row in best[:3]] == (["0", "1", "2"] if lost + failed < 1000 else [])


def test_constants_are_no_columns() -> None:
    assert table(made(3)).head == ("job", "lr", "batch", "loss", "steps")


def test_a_knob_that_is_called_like_a_column_of_the_outcome_is_one_column() -> None:
    jobs = [Job(k, (f"steps={k}",), "completed", 1.0, k, 0.1, None, "") for k in range(1, 3)]
    assert table(Sweep(Path(), jobs)).head == ("job", "steps", "objective")


def test_numbers_have_the_digits_that_tell_them_apart_and_no_more() -> None:
    texts = ("0.10000000000000006", "0.1000000001", "1")
    jobs = [Job(k, (f"lr={text}",), "completed", 1.0, 1, 0.1, None, "") for k, text in enumerate(texts)]
    assert {row.cells[1] for row in table(Sweep(Path(), jobs)).rows} == {"0.1", "0.1000000001", "1"}


def test_the_best_is_told_with_what_was_swept_and_among_how_many() -> None:
    ((heading, text),) = sentences(made(7, lost=2))
    assert heading == "best"
    assert text == "lr=1 batch=a: loss 0, the lowest of 5 results"


def test_without_any_result_there_is_no_best_but_what_became_of_all() -> None:
    assert list(sentences(made(3, lost=2, failed=1))) == [("", "no job came to a result: 2 diverged, 1 failed")]
    assert not list(sentences(made(3, failed=3)))  # the errors say it
    assert not list(sentences(made(0)))


def test_where_all_ran_away_theorys_limit_is_told() -> None:
    sweep = made(3, lost=3)
    sweep.limits = [0.5, 0.25, None]
    ((_, text),) = sentences(sweep)
    assert text.endswith("The largest stable lr at the start is 0.25 to 0.5: try lr=0.125")


def test_in_a_long_table_seeds_are_one_row() -> None:
    jobs = [
        Job(3 * k + s, (f"lr={k}", f"seed={s}"), "completed", k + s / 10, 1, 0.1, None, "")
        for k in range(EVERY)
        for s in range(3)
    ]
    shown = table(Sweep(Path(), jobs))
    assert shown.head == ("job", "lr", "objective", "seeds", "steps")
    assert shown.rows[0].cells == ("1", "0", "0.1", "3: 0 to 0.2", "1")


def test_each_error_is_told_once_with_its_jobs() -> None:
    assert list(errors(made(6, failed=4))) == ["jobs 2, 4: RuntimeError: 0", "jobs 3, 5: RuntimeError: 1"]


def test_what_a_terminal_would_obey_is_shown() -> None:
    jobs = [Job(k, (f"note=\x1b[31m{k}",), "completed", 1.0, 1, 0.1, None, "") for k in range(2)]
    assert not any("\x1b" in line for line, _ in table(Sweep(Path(), jobs)).lines(80))
