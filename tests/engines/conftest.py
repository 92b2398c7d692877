"""The lab as a whole process in an empty folder, and functions of a user's own that misbehave."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

OWN = """
import os, signal, sys, time

def good(x):
    return (x**2).sum()

def waits(x):
    if os.path.exists("hold"):
        time.sleep(0.005)
    return (x**2).sum()

def bad(x):
    raise RuntimeError("out of luck")

def deadly(x):
    os.kill(os.getpid(), signal.SIGSEGV)

def killed(x):
    os.kill(os.getpid(), signal.SIGKILL)

def quits(x):
    sys.exit(7)

def kills_its_engine(x):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""


@dataclass(frozen=True)
class Engine:
    """Types command lines (after ``python -m calclab -m figures=false``) in a folder with functions of its own."""

    place: Path

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        process = self.start(line)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(line, process.returncode, out, err)

    def start(self, line: str) -> subprocess.Popen[str]:
        """Begin, in a group of its own, as a terminal would."""
        words = [sys.executable, "-m", "calclab", "-m", "figures=false", *shlex.split(line)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, cwd=self.place, start_new_session=True, **pipes)

    def table(self) -> pd.DataFrame:
        """The last sweep's table."""
        found = (self.place / "outputs" / "sweeps").glob("*/sweep.csv")
        return pd.read_csv(max(found, key=lambda path: path.stat().st_mtime))

    def runs(self, status: str) -> list[Path]:
        """The folders of the runs that say so of themselves."""
        records = (self.place / "outputs" / "descent").glob("*/outcome.json")
        return [path.parent for path in records if f'"status": "{status}"' in path.read_text(encoding="utf-8")]

    def logged(self) -> int:
        """How many runs have logged something."""
        return sum(path.stat().st_size > 200 for path in (self.place / "outputs" / "descent").glob("*/scalars.csv"))

    def hold(self, on: bool = True) -> None:
        """Let the function ``waits`` wait at every call, or not any more."""
        if on:
            (self.place / "hold").touch()
        else:
            (self.place / "hold").unlink()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return at(tmp_path)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lab's own launcher has run what other engines run."""
    ours = at(tmp_path_factory.mktemp("reference"))
    functions = "function._target_=own_of_engines.good,own_of_engines.waits function.at=[1,2]"
    result = ours(f"topic=descent {functions} lr=0.01 steps=1000 tol=0")
    assert result.returncode == 0, result.stdout + result.stderr
    return ours.place


def at(place: Path) -> Engine:
    (place / "own_of_engines.py").write_text(OWN)
    return Engine(place)


@pytest.fixture
def until() -> Callable[[Callable[[], object], subprocess.Popen[str]], None]:
    return wait_until


def wait_until(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, while the process lives."""
    for _ in range(2400):
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("".join(process.communicate()))
