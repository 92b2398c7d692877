"""Folders of runs and sweeps: called by what differs, found by their digest whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calclab import runs
from calclab.app.sweep.spacing import linspace, logspace
from calclab.archive.read import find

SWEEP = "-m topic=descent function=booth steps=5 figures=false lr=logspace(0.001,0.1,3) optimizer=gd,adam"


def names(place: Path, topic: str = "descent") -> list[str]:
    return sorted(path.name for path in (place / "outputs" / topic).iterdir() if path.name[0] != ".")


def test_jobs_of_a_sweep_are_called_by_what_is_swept(lab, tmp_path: Path) -> None:
    assert lab(SWEEP).status == 0
    told = [name.rpartition("-")[0] for name in names(tmp_path)]
    assert sorted(told) == sorted(f"{rule},lr={lr}" for rule in ("gd", "adam") for lr in ("0.001", "0.01", "0.1"))


def test_a_folder_that_was_called_otherwise_is_the_run(lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As releases before called theirs; alone or in a sweep the question finds it."""
    line = "topic=descent function=booth steps=5 figures=false lr=0.01 optimizer=gd"
    assert lab(line).status == 0
    (name,) = names(tmp_path)
    old = f"topic=descent,function=booth,ste-{name[-12:]}"
    (tmp_path / "outputs" / "descent" / name).rename(tmp_path / "outputs" / "descent" / old)
    again = lab(line)
    assert "finished before" in again.out
    assert names(tmp_path) == [old]
    assert lab(SWEEP).status == 0
    assert old in names(tmp_path)
    assert len(names(tmp_path)) == 6
    assert {run.digest for run in find(tmp_path / "outputs")} == {name[-12:] for name in names(tmp_path)}
    assert runs.main([str(tmp_path / "outputs")]) == 0
    assert old in capsys.readouterr().out


def test_a_sweep_that_was_called_otherwise_goes_on(lab, tmp_path: Path) -> None:
    assert lab(SWEEP).status == 0
    (name,) = names(tmp_path, "sweeps")
    old = f"function=booth,step-{name[-12:]}"
    (tmp_path / "outputs" / "sweeps" / name).rename(tmp_path / "outputs" / "sweeps" / old)
    assert lab(SWEEP).status == 0
    assert names(tmp_path, "sweeps") == [old]


def test_a_run_without_words_has_a_name(lab, tmp_path: Path) -> None:
    assert lab("topic=derivative").status == 0
    (name,) = names(tmp_path, "derivative")
    record = json.loads((tmp_path / "outputs" / "derivative" / name / "outcome.json").read_text())
    assert name == f"defaults-{record['digest']}"


def test_spaced_numbers_are_clean() -> None:
    assert logspace(0.01, 100, 5).list == [0.01, 0.1, 1, 10, 100]
    assert logspace(1, 2, 3).list[1] == pytest.approx(2**0.5, rel=1e-11)
    assert linspace(0, 1, 11).list == [k / 10 for k in range(11)]
