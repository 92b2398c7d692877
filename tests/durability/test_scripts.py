"""A few of what the scripts beside this file do in full: kills, crowds, full disks, flipped bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def script(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, Path(__file__).with_name(name), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_killed_runs_resume_to_identical_bytes() -> None:
    done = script("kills.py", "--kills", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 of 20" in done.stdout


@pytest.mark.slow
def test_many_at_once_do_not_mix() -> None:
    done = script("crowd.py", "--different", "6", "--same", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing went wrong") == 2


@pytest.mark.slow
def test_a_disk_that_is_full_at_some_points_loses_nothing() -> None:
    done = script("full_disk.py", "--runs", "scalars,matrix", "--stride", "5")
    if "may not mount" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing went wrong" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "stride"),
    [("float32", "16"), ("rerun", "14"), pytest.param("batch rerun", "40", marks=pytest.mark.minutes)],
)
def test_killed_before_an_operation_runs_resume_to_identical_bytes(runs: str, stride: str) -> None:
    done = script("operations.py", "--runs", runs, "--stride", stride)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing went wrong" in done.stdout


@pytest.mark.minutes
def test_what_is_damaged_is_never_believed() -> None:
    done = script("flips.py", "--runs", "float32", "--places", "0", "--moments", "0.6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing went wrong" in done.stdout
