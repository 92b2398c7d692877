"""The lab as a whole process in an empty folder, and functions of a user's own that misbehave."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

OWN = """
import os, signal, sys
import torch

def good(x):
    return (x**2).sum()

def bad(x):
    raise RuntimeError("out of luck")

def deadly(x):
    os.kill(os.getpid(), signal.SIGSEGV)

def quits(x):
    sys.exit(7)
"""
Engine = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Types a command line (after ``python -m calclab -m figures=false``)."""
    (tmp_path / "own_functions_of_engines.py").write_text(OWN)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "calclab", "-m", "figures=false", *shlex.split(line)]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def table(tmp_path: Path) -> Callable[[], pd.DataFrame]:
    """The last sweep's table."""

    def read() -> pd.DataFrame:
        found = (tmp_path / "outputs" / "sweeps").glob("*/sweep.csv")
        return pd.read_csv(max(found, key=lambda path: path.stat().st_mtime))

    return read
