"""Workers of the command line are forked from a process that has imported what jobs need; none outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calclab.app.sweep import nursery

MODULE = """
import os, time

def told(x):
    with open(f"{os.getpid()}.seen", "w") as file:
        file.write(f"{os.getppid()} {os.environ['TOLD']}")
    return (x**2).sum()

def slow(x):
    open(f"{os.getpid()}.slow", "w").close()
    time.sleep(0.2)
    return (x**2).sum()
"""


def command(folder: Path, what: str, launcher: str, steps: int) -> subprocess.Popen[str]:
    (folder / "own_of_nursery.py").write_text(MODULE)
    words = ["topic=descent", f"function._target_=own_of_nursery.{what}", "function.at=[1,2]", "lr=0.1,0.2"]
    words += [f"steps={steps}", "figures=false", f"hydra/launcher={launcher}"]
    return subprocess.Popen(
        [sys.executable, "-m", "calclab", "-m", *words],
        cwd=folder,
        env=os.environ | {"TOLD": "here"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", nursery.SERVED)
@pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned there")
def test_workers_are_forks_of_a_server(tmp_path: Path, launcher: str) -> None:
    process = command(tmp_path, "told", launcher, 2)
    said, _ = process.communicate(timeout=120)
    assert "2 of 2 jobs done, 0 failed" in said
    seen = [path.read_text().split() for path in tmp_path.glob("*.seen")]
    assert seen
    assert {word for _, word in seen} == {"here"}
    parents = {int(parent) for parent, _ in seen}
    assert len(parents) == 1
    assert process.pid not in parents


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned there")
def test_nothing_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    process = command(tmp_path, "slow", "batch", 10_000)
    try:
        wait(lambda: bool(list(tmp_path.glob("*.slow"))))
        worker = int(next(tmp_path.glob("*.slow")).stem)
        server = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait(lambda: not any(alive(pid) for pid in (worker, server)))


def wait(there: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_users_own_main_is_not_imported_again() -> None:
    """Here pytest is the main module: no server is wanted."""
    assert not nursery.own()
