"""Runs that were carried with others appear whole, and their rows are found by the job's number."""

from __future__ import annotations

from pathlib import Path

import pytest

from calclab.app.place import by_digest
from calclab.app.sweep.batch import hidden, show
from calclab.app.sweep.ticket import keep, keep_all, row_of, rows

DIGEST = "0" * 12


def made(folder: Path, **files: str) -> Path:
    place = hidden(folder, DIGEST)
    for name, text in files.items():
        (place / name.replace("_", ".")).write_text(text)
    return place


def test_a_hidden_folder_is_no_run_until_it_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "descent" / f"lr=1-{DIGEST}"
    place = made(folder, outcome_json="{}", scalars_csv="step\n")
    assert by_digest.__wrapped__(str(folder.parent)) == {}
    show(place, folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["outcome.json", "scalars.csv"]


def test_what_a_killed_process_has_hidden_is_not_gone_on_with(tmp_path: Path) -> None:
    made(tmp_path / "a", scalars_csv="half a li")
    assert list(hidden(tmp_path / "a", DIGEST).iterdir()) == []


@pytest.mark.parametrize("own", [False, True], ids=["files", "a folder of the user's too"])
def test_an_earlier_attempt_gives_way(tmp_path: Path, own: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("checkpoint.pt", "scalars.csv", "outcome.json"):
        (folder / name).write_text("old")
    if own:
        (folder / "notes").mkdir()
    show(made(folder, outcome_json="new", scalars_csv="new"), folder)
    files = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert files == {"outcome.json": "new", "scalars.csv": "new"}
    assert (folder / "notes").is_dir() == own
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_a_record_nothing_is_shown(tmp_path: Path) -> None:
    show(made(tmp_path / "run", scalars_csv="step\n"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_found_whether_written_together_or_alone(tmp_path: Path) -> None:
    together = [{"job": job, "status": "completed"} for job in (9, 10, 11)]
    keep_all(together, tmp_path)
    keep_all([], tmp_path)
    keep({"job": 2, "status": "completed"}, tmp_path)
    keep({"job": 10, "status": "failed"}, tmp_path)  # done again
    assert [row["job"] for row in rows(tmp_path)] == [2, 9, 10, 11]
    assert rows(tmp_path)[2]["status"] == "failed"
    assert row_of(tmp_path, 10) == {"job": 10, "status": "failed"}
    assert row_of(tmp_path, 11) == together[2]
    assert row_of(tmp_path, 3) is None
