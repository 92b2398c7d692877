"""Which runs words name, and what is said of a word that names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calclab.difference.choice import choose
from calclab.errors import UserError

OUTPUTS = Path("outputs")


def test_a_run_is_named_by_folder_glob_digest_topic_and_all_outputs(make: Any) -> None:
    one, two = make(1), make(2)
    other = make(3, topic="hessian")
    for words, expected in (
        ([str(one), f"{two}/"], [one, two]),
        (["outputs/descent/*"], [one, two]),
        (["002", "001001"], [two, one]),
        ([str(one), "001", str(one.absolute())], [one]),
        (["outputs/descent"], [one, two]),
        (["outputs"], [one, two, other]),
        ([two.name], [two]),
        ([two.name[:-6]], [two]),
    ):
        assert [run.folder.name for run in choose(words, OUTPUTS)] == [folder.name for folder in expected], words


def test_a_folder_with_brackets_is_a_name_before_it_is_a_glob(make: Any) -> None:
    one = make(1)
    assert "[1]" in one.name
    assert [run.folder for run in choose([str(one)], OUTPUTS)] == [one]


def test_a_sweep_names_its_jobs(make: Any) -> None:
    folders = [make(1), make(2)]
    sweep = OUTPUTS / "sweeps" / "lr-0123456789ab"
    sweep.mkdir(parents=True)
    rows = [f'{i},lr={i},completed,1.0,2,0.1,0,"{folder}",' for i, folder in enumerate(folders)]
    (sweep / "sweep.csv").write_text(
        "job,overrides,status,objective,steps,seconds,exit,folder,error\n" + "\n".join(rows) + "\n"
    )
    assert len(choose([str(sweep)], OUTPUTS)) == 2


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("00", "calclab runs outputs"),
        ("0", "there is no run 0"),
        ("0010010010010", "there is no run"),
        ("gd,lr=[1]-001001002", "Did you mean"),
        ("outputs/nothing/*", "there is no run"),
        ("outputs/empty", "holds no run"),
        ("\x1b[31m", "\\x1b"),
    ],
)
def test_a_word_that_names_none_is_told_what_there_is(make: Any, word: str, phrase: str) -> None:
    make(1)
    (OUTPUTS / "empty").mkdir()
    with pytest.raises(UserError) as found:
        choose([word], OUTPUTS)
    assert phrase in str(found.value) or phrase in repr(str(found.value))


def test_a_digest_that_begins_two_is_asked_for_in_full(make: Any) -> None:
    first, second = make(1), make(2)
    second.rename(second.with_name("x-001001999999"))
    with pytest.raises(UserError, match="001001001001, 001001999999"):
        choose(["001"], OUTPUTS)
    assert [run.folder for run in choose(["0010010"], OUTPUTS)] == [first]


def test_a_broken_record_is_said_to_be_one(make: Any) -> None:
    folder = make(1)
    (folder / "outcome.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        choose([str(folder)], OUTPUTS)
