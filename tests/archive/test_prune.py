"""Pruning: a dry run first, nothing that is being computed, nothing outside the folders of runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from calclab.archive import Run, find, prune
from calclab.archive.lock import lock_file
from calclab.runs import main


@pytest.fixture
def five(outputs: Path, make: Any) -> list[Path]:
    """Five runs, the first the oldest; the second failed."""
    return [
        make(number=k, started=f"2026-11-0{k}T08:00:00+00:00", status="failed" if k == 2 else "completed")
        for k in range(1, 6)
    ]


def left(outputs: Path) -> list[int]:
    return sorted(int(run.digest or "", 16) for run in find(outputs))


def test_without_yes_nothing_goes(outputs: Path, five: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(outputs.rglob("*"))
    assert main(["prune", str(outputs), "--status", "failed"]) == 0
    said = capsys.readouterr().out
    assert f"would go: {five[1]}" in said
    assert "1 run would go and free" in said
    assert "--yes" in said
    assert sorted(outputs.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--status", "failed"], [1, 3, 4, 5]),
        (["--keep-last", "2"], [4, 5]),
        (["--keep-last", "0"], []),
        (["--keep-last", "1", "--before", "2026-11-04"], [3, 4, 5]),
        (["--where", "steps>1000"], [1, 2, 3, 4, 5]),
    ],
)
def test_what_was_chosen_goes(
    outputs: Path, five: list[Path], capsys: pytest.CaptureFixture[str], words: list[str], expected: list[int]
) -> None:
    assert main(["prune", str(outputs), *words, "--yes"]) == 0
    assert left(outputs) == expected
    assert f"{5 - len(expected)} run{'' if len(expected) == 4 else 's'} removed" in capsys.readouterr().out
    assert not (outputs / prune.GONE).exists()


def test_all_runs_go_only_when_that_is_said(outputs: Path, five: list[Path]) -> None:
    assert main(["prune", str(outputs), "--yes"]) == 2
    assert left(outputs) == [1, 2, 3, 4, 5]


def test_a_mistyped_filter_removes_nothing(outputs: Path, five: list[Path]) -> None:
    for words in (["--topic", "desent"], ["--where", "lrr>0"], ["--where", "lr"], ["--status", "fail"]):
        assert main(["prune", str(outputs), *words, "--yes"]) == 2
    assert left(outputs) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", ["running", "completed"])  # the second: begun anew a moment ago
def test_what_is_being_computed_stays(
    outputs: Path, make: Any, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    make(number=1, status=status)
    make(number=2, status=status)
    with FileLock(lock_file(outputs, "descent", f"{1:012x}")):
        main(["prune", str(outputs), "--keep-last", "0", "--yes"])
        assert left(outputs) == [1]
    assert main(["prune", str(outputs), "--status", "interrupted", "--status", "completed", "--yes"]) == 0
    assert left(outputs) == []


def test_one_that_could_not_go_is_named(outputs: Path, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make()
    with FileLock(lock_file(outputs, "descent", f"{1:012x}")):
        assert main(["prune", str(outputs), "--keep-last", "0", "--yes"]) == 1
    found = capsys.readouterr()
    assert f"stays: {folder}: is being computed" in found.err
    assert "1 run could not go" in found.out


def test_links_are_not_followed(outputs: Path, make: Any, tmp_path: Path) -> None:
    folder = make(number=1)
    precious = tmp_path / "precious"
    shutil.copytree(folder, precious / "descent" / folder.name)
    (folder / "link").symlink_to(precious)
    (outputs / "descent" / "linked-0123456789ab").symlink_to(precious / "descent" / folder.name)
    (outputs / "linked").symlink_to(precious / "descent")
    (outputs / prune.GONE).symlink_to(precious)
    before = sorted(precious.rglob("*"))
    assert main(["prune", str(outputs), "--keep-last", "0", "--yes"]) == 1
    assert folder.is_dir()
    (outputs / prune.GONE).unlink()
    assert main(["prune", str(outputs), "--keep-last", "0", "--yes"]) == 0
    assert not folder.exists()
    assert sorted(precious.rglob("*")) == before


def test_other_folders_stay(outputs: Path, five: list[Path]) -> None:
    kept = [outputs / name for name in ("sweeps/a-0123456789ab", "notes/mine", "descent/notes")]
    for folder in kept:
        folder.mkdir(parents=True)
        (folder / "text.md").write_text("mine")
    assert main(["prune", str(outputs), "--keep-last", "0", "--yes"]) == 0
    assert all((folder / "text.md").is_file() for folder in kept)
    assert (outputs / ".locks").is_dir()  # a lock that somebody waits for must stay the same file


@pytest.mark.parametrize(
    "name", [".", "descent", "sweeps/a-0123456789ab", "../elsewhere/a-0123456789ab", "a/b/c-0123456789ab"]
)
def test_only_a_folder_of_a_run_is_ever_removed(outputs: Path, name: str) -> None:
    folder = outputs / name
    folder.mkdir(parents=True)
    assert prune.throw_away(folder, None, outputs) == "is no folder of a run"
    made = prune.Plan([Run(folder, None)], [])
    assert len(prune.carry_out(made, outputs).stayed) == 1
    assert folder.is_dir()


def test_half_a_run_goes_too_and_what_a_killed_prune_left(outputs: Path) -> None:
    (outputs / "descent" / "lr=1-0123456789ab").mkdir(parents=True)
    (outputs / prune.GONE / "1-descent-0").mkdir(parents=True)
    assert main(["prune", str(outputs), "--status", "unreadable", "--yes"]) == 0
    assert sorted(path.name for path in outputs.iterdir()) == [".locks", "descent"]
    assert not any((outputs / "descent").iterdir())
