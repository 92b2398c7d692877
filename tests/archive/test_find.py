"""What counts as a run, and what a run is said to be: also when its folder is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import calclab
from calclab.archive import find, lock
from calclab.archive.query import STATUSES
from calclab.core import Status
from calclab.errors import UserError


def test_only_folders_of_runs_are_runs(outputs: Path, make: Any) -> None:
    make()
    (outputs / "README.md").write_text("runs")
    for name in ("sweeps/a-0123456789ab", ".pruned/a-0123456789ab", "descent/.hidden-0123456789ab", "descent/notes"):
        (outputs / name).mkdir(parents=True)
    (outputs / "descent" / "linked-0123456789ab").symlink_to(make("hessian"))
    (outputs / "linked").symlink_to(outputs / "descent")
    assert [run.topic for run in find(outputs)] == ["descent", "hessian"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2]", '{"status": 3}', "null", '{"topic": "desc', "\x00\ud800".encode(errors="replace").decode()],
)
def test_a_broken_record_is_unreadable_and_nothing_raises(outputs: Path, make: Any, text: str) -> None:
    make(number=1)
    broken = make(number=2, text=text)
    runs = {str(run.folder): run for run in find(outputs)}
    assert runs[str(broken)].status == "unreadable"
    frame = calclab.load(outputs)
    assert sorted(frame.status) == ["completed", "unreadable"]
    assert calclab.load(broken).scalars.loss.tolist() == [1.0, 0.25]  # what was logged is there


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": "none"},
        {"evidence": [1]},
        {"provenance": None},
        {"last": [2]},
        {"steps": {"a": 1}},
        {"seconds": "long"},
    ],
)
def test_fields_of_another_kind_do_no_harm(outputs: Path, make: Any, changes: dict[str, Any]) -> None:
    make(**changes)
    assert calclab.load(outputs).status.tolist() == ["completed"]


def test_a_folder_made_and_not_yet_written_is_unreadable(outputs: Path) -> None:
    (outputs / "descent" / "lr=1-0123456789ab").mkdir(parents=True)
    assert [run.status for run in find(outputs)] == ["unreadable"]


def test_bytes_that_are_no_text(outputs: Path, make: Any) -> None:
    (make() / "outcome.json").write_bytes(b"\xff\xfe{}\x80")
    assert [run.status for run in find(outputs)] == ["unreadable"]


def test_a_run_is_running_while_its_lock_is_held(outputs: Path, make: Any) -> None:
    make(status="running")
    with FileLock(lock.lock_file(outputs, "descent", f"{1:012x}")):
        assert [run.status for run in find(outputs)] == ["running"]
    assert [run.status for run in find(outputs)] == ["interrupted"]


def test_a_killed_process_leaves_an_interrupted_run(outputs: Path, make: Any) -> None:
    make(status="running")
    path = lock.lock_file(outputs, "descent", f"{1:012x}")
    code = (
        f"import filelock, sys; held = filelock.FileLock({str(path)!r}); held.acquire()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert [run.status for run in find(outputs)] == ["running"]
        holder.kill()
    assert [run.status for run in find(outputs)] == ["interrupted"]


def test_asking_takes_no_lock(outputs: Path, make: Any) -> None:
    make(status="running")
    path = lock.lock_file(outputs, "descent", f"{1:012x}")
    assert lock.taken(path) is False
    with FileLock(path, timeout=0):
        assert lock.taken(path) is True
    path.unlink()
    assert lock.taken(path) is False
    assert not path.exists()


@pytest.mark.parametrize(("age", "status"), [(5, "running"), (500, "interrupted")])
def test_a_sign_of_life_of_another_host_counts(outputs: Path, make: Any, age: int, status: str) -> None:
    seen = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="seconds")
    make(status="running", host="another", heartbeat=seen)
    assert [run.status for run in find(outputs)] == [status]


def test_filelock_says_the_same_where_there_is_no_flock(outputs: Path, make: Any) -> None:
    make(status="running")
    path = lock.lock_file(outputs, "descent", f"{1:012x}")
    assert lock.taken_elsewhere(path) is False
    with FileLock(path, timeout=0):
        assert lock.taken_elsewhere(path) is True


def test_every_status_of_the_lab_can_be_asked_for() -> None:
    assert {status.word for status in Status} <= set(STATUSES)


def test_a_folder_that_is_no_outputs_is_refused(tmp_path: Path, outputs: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        calclab.load(outputs)
    (tmp_path / "pictures" / "summer").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "pictures"):
        with pytest.raises(UserError, match="neither a run nor"):
            calclab.load(folder)


def test_outputs_without_runs_is_an_empty_frame(outputs: Path) -> None:
    (outputs / ".locks").mkdir(parents=True)
    frame = calclab.load(outputs)
    assert len(frame) == 0
    assert {"topic", "status", "started", "folder"} <= set(frame.columns)


def test_a_run_can_be_loaded_from_within_its_topic(outputs: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(status="running")
    monkeypatch.chdir(folder.parent)
    run = calclab.load(folder.name)
    assert (run.topic, run.status) == ("descent", "interrupted")
    monkeypatch.chdir(folder)
    assert calclab.load(os.curdir).folder == folder


def test_importing_calclab_stays_light() -> None:
    code = (
        "import sys, calclab, calclab.runs\n"
        "print(*(m for m in ('torch', 'pandas', 'numpy', 'hydra', 'yaml', 'filelock', 'rich') if m in sys.modules))\n"
        "assert callable(calclab.load)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
