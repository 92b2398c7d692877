"""Runs the lab in this process, as a user in an empty folder would."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from calclab.app import main

PAGES = str(Path(__file__).parent.parent / "report" / "html")  # how tests read pages
if PAGES not in sys.path:
    sys.path.insert(0, PAGES)


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Lab = Callable[[str], Result]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    """Types a command line (after ``python -m calclab``) in an empty folder."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("sys.argv", ["calclab"])

    def run(line: str) -> Result:
        status = main(shlex.split(line))
        torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run
