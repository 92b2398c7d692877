"""A run that is interrupted answers with what it has, and goes on to the bytes of one that was left alone."""

from __future__ import annotations

import json
import os
import signal
from itertools import count
from pathlib import Path

import pytest
import torch

from calclab import checkpoint
from calclab.app.compute import Pause
from calclab.core import Scan

MLP = "network=mlp network.width=4 network.depth=1 data=iris train=0 figures=false dtype=float64"
LINES = {
    "hessian": f"topic=hessian {MLP} matrix=never top=3 slices=0 layers=true",
    "comparison": "topic=comparison function=booth optimizers='[gd,adam]' budget=30 seeds=4 figures=false",
    "importance": f"topic=importance {MLP} method='[gradient,permutation]' retrains=0 bootstrap=20",
    "jacobian": f"topic=jacobian {MLP} by=layers rows=3",
    "descent": "topic=descent function=rosenbrock optimizer=adam lr=0.01 steps=40 tol=0 figures=false",
}


def stop_after(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal of Ctrl-C comes when so many blocks have been written; every block is one step."""
    numbers = count(1)

    def pause(self: Pause, scan: Scan) -> bool:
        if next(numbers) < blocks:
            return False
        os.kill(os.getpid(), signal.SIGINT)
        return True

    monkeypatch.setattr(Pause, "__call__", pause)
    monkeypatch.setattr("calclab.drive.BLOCK_STEPS", 1)


def csvs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def record(folder: Path) -> dict[str, object]:
    return json.loads((folder / "outcome.json").read_text(encoding="utf-8"))


def only(outputs: Path) -> Path:
    (folder,) = (path for path in outputs.glob("*/*") if path.is_dir() and not path.name.startswith("."))
    return folder


@pytest.mark.parametrize("topic", LINES)
def test_it_answers_and_goes_on_to_the_same_bytes(
    lab, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = LINES[topic]
    assert lab(f"{line} outputs=whole").status == 0
    whole = csvs(only(tmp_path / "whole"))
    for moment in (1, 2, 12):
        outputs = f"cut{moment}"
        with monkeypatch.context() as patch:
            stop_after(moment, patch)
            result = lab(f"{line} outputs={outputs}")
        found = record(only(tmp_path / outputs))
        if found["status"] == "completed":
            continue  # it had ended before
        assert result.status == 130
        assert f"was interrupted after step {found['steps']}" in result.out
        assert "the same command goes on" in result.out
        assert found["answer"]["values"]
        assert lab(f"{line} outputs={outputs}").status == 0
        assert csvs(only(tmp_path / outputs)) == whole


def test_the_eigenvalues_found_so_far_are_eigenvalues(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = LINES["hessian"]
    assert lab(f"topic=hessian {MLP} matrix=always slices=0 outputs=dense").status == 0
    λ = torch.tensor(record(only(tmp_path / "dense"))["answer"]["values"]["eigenvalues"], dtype=torch.float64)
    for moment in (2, 4, 9):
        with monkeypatch.context() as patch:
            stop_after(moment, patch)
            result = lab(f"{line} outputs=cut{moment}")
        folder = only(tmp_path / f"cut{moment}")
        values = record(folder)["answer"]["values"]
        found, within = (torch.tensor(values[name], dtype=torch.float64) for name in ("eigenvalues", "residuals"))
        assert len(found) >= 1
        assert bool(((found[:, None] - λ).abs().amin(1) <= within + 1e-12).all())
        assert "interrupted before it had all eigenvalues" in result.out
        checks = record(folder)["evidence"]
        assert checks["verdict"] == "consistent"
        assert "residual" in (folder / "verify.csv").read_text(encoding="utf-8")
        kept = checkpoint.load(folder, torch.device("cpu"))
        assert kept is not None
        assert "residual" not in (folder / "verify.csv").read_text(encoding="utf-8")  # a run that goes on has its own
