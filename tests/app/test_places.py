"""Places where nothing can be written or read: one line, exit status 2, nothing left behind.

Root may write anywhere, so where the tests are root's, the command runs without the capabilities that let it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = ["topic=derivative", "steps=3", "figures=false"]
ABOVE = "dac_override,-dac_read_search"
POWERLESS = [] if os.geteuid() else ["setpriv", f"--bounding-set=-{ABOVE}", f"--inh-caps=-{ABOVE}"]
needs_power_taken = pytest.mark.skipif(bool(POWERLESS) and not shutil.which("setpriv"), reason="root, and no setpriv")


def typed(place: Path, words: list[str], powerless: bool = True) -> tuple[int, str, list[Path]]:
    """Exit status, stderr, and the files that were not there before."""
    before = set(place.rglob("*"))
    command = [*(POWERLESS if powerless else []), sys.executable, "-m", "calclab", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr, [path for path in set(place.rglob("*")) - before if path.is_file()]


def closed_outputs(place: Path) -> None:
    (place / "outputs").mkdir(mode=0o555)


def a_file(place: Path) -> None:
    (place / "outputs").touch()


def a_link_to_nowhere(place: Path) -> None:
    (place / "outputs").symlink_to(place / "nowhere")


def a_topic_that_is_a_file(place: Path) -> None:
    (place / "outputs").mkdir()
    (place / "outputs" / "derivative").touch()


def secret_outputs(place: Path) -> None:
    (place / "outputs").mkdir(mode=0o000)


def unfinished(place: Path, status: str = "interrupted") -> None:
    """A run of somebody's that is not ours to go on with."""
    assert typed(place, RUN, powerless=False)[0] == 0
    (record,) = (place / "outputs").rglob("outcome.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": status}))
    record.parent.chmod(0o555)


@needs_power_taken
@pytest.mark.parametrize(
    "made", [closed_outputs, a_file, a_link_to_nowhere, a_topic_that_is_a_file, secret_outputs, unfinished]
)
def test_outputs_that_cannot_be_written(tmp_path: Path, made: Callable[[Path], None]) -> None:
    made(tmp_path)
    status, told, left = typed(tmp_path, RUN)
    assert status == 2, told
    assert told.startswith("calclab: ")
    assert told.count("\n") == 1
    assert "outputs=" in told
    assert not left


@needs_power_taken
def test_a_finished_run_of_another_user_is_shown(tmp_path: Path) -> None:
    unfinished(tmp_path, "completed")
    assert typed(tmp_path, RUN) == (0, "", [])


@needs_power_taken
def test_a_sweep_into_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    closed_outputs(tmp_path)
    status, told, left = typed(tmp_path, ["-m", *RUN, "seed=1,2"])
    assert (status, told.count("\n"), left) == (2, 1, []), told


@needs_power_taken
@pytest.mark.parametrize(
    "words", [["data=table", "data.path=t.csv", "data.target=y"], ["data=iris", "network.weights=t.csv"]]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,4\n")
    (tmp_path / "t.csv").chmod(0o000)
    status, told, left = typed(tmp_path, ["topic=partial", "network=linear", *words])
    assert (status, told.count("\n"), left) == (2, 1, []), told
    assert "t.csv" in told
    assert "cannot be read" in told


def test_a_folder_that_has_been_removed(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    command = f"rmdir {place}; exec {sys.executable} -m calclab {' '.join(RUN)}"
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "current folder" in done.stderr


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "calclab", b"outputs=\xff"], cwd=tmp_path, capture_output=True, timeout=300
    )
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_table_in_the_home_folder_is_looked_into(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` names a file as well: when it has changed, it is another run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    line = "topic=partial network=linear data=table data.path=~/t.csv data.target=y figures=false"
    for last in (5, 6):
        (tmp_path / "t.csv").write_text(f"x,y\n1,2\n2,4\n3,{last}\n")
        assert lab(line).status == 0
    assert len(list((tmp_path / "outputs" / "partial").iterdir())) == 2
