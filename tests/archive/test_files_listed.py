"""The list of a run's own files: all else in its folder is the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calclab.archive import folder as own
from calclab.archive.folder import LIST, add, blocked, foreign, listed, put

EVENTS = "events.out.tfevents.1700000000.host.12.0"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_what_is_listed_is_the_labs_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, ["x.csv", "H.#.csv", "H.#.parquet", "a+b(c).png"])
    mine = own.own(tmp_path)
    lab = ["x.csv", "H.0.csv", "H.12.csv", "H.3.parquet", "a+b(c).png", "scalars.csv", "verify.csv", "outcome.json"]
    lab += ["summary.md", "checkpoint.pt", "error.log", LIST, f"{EVENTS}.calclab"]
    lab += [".x.csv.next", ".x.csv.past", ".outcome.json", ".checkpoint.pt", "H.0.csv.part", ".H.3.parquet"]
    user = ["xycsv", "X.csv", "H.csv", "H.a.csv", "H.1.2.csv", "aab(c).png", "x.csv.bak", "x.csv~", ".x.csv.swp"]
    user += [EVENTS, "mine.csv", "notes.txt", ".hidden", "big.csv.part", "scalars.csv.gz", "x.csv\n"]
    assert [name for name in lab if not mine(name)] == []
    assert [name for name in user if mine(name)] == []


def test_a_name_that_is_taken_makes_way(tmp_path: Path) -> None:
    fill(tmp_path, "x.csv", "kept1.x.csv", "H.7.csv", "H.csv")
    put(tmp_path, [])
    moved = add(tmp_path, ["x.csv", "H.#.csv"])
    assert sorted(moved) == [("H.7.csv", "kept1.H.7.csv"), ("x.csv", "kept2.x.csv")]
    assert (tmp_path / "kept2.x.csv").read_text() == "x.csv"
    assert listed(tmp_path) == ["x.csv", "H.#.csv"]
    assert foreign(tmp_path) == ["H.csv", "kept1.H.7.csv", "kept1.x.csv", "kept2.x.csv"]
    assert add(tmp_path, []) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "broken link"])
def test_what_is_no_file_makes_way(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, "outcome.json")
    path = tmp_path / "scalars.csv"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "broken link": lambda: path.symlink_to("no")}[kind]()
    (tmp_path / "sub").mkdir()
    assert blocked(tmp_path) == [("scalars.csv", "kept1.scalars.csv")]
    assert sorted(os.listdir(tmp_path)) == ["kept1.scalars.csv", "outcome.json", "sub"]
