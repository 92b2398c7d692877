"""``torchrun ... -m calclab``: one run on two processes, written once, and ended as a whole."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SMALL = ["topic=descent", "network=mlp", "network.width=4", "data=digits", "data.rows=61", "steps=40"]
NETS = '''
import os, signal, torch

class Failing(torch.nn.Module):
    """A linear layer that, on rank 1 and from its tenth derivative on, does what HOW says."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.linear = torch.nn.Linear(64, outputs)
        self.calls = 0

    def forward(self, x):
        self.calls += torch.is_grad_enabled()
        if self.calls > 10 and os.environ.get("RANK") == "1":
            if os.environ["HOW"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("the layer broke")
        return self.linear(x.flatten(1))
'''


def command(words: list[str], processes: int) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *torchrun, "-m", "calclab", *words]


def run(folder: Path, words: list[str], processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    around = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        command(words, processes), cwd=folder, env=around, capture_output=True, text=True, timeout=120
    )


def only(folder: Path) -> Path:
    (found,) = (folder / "outputs" / "descent").iterdir()
    return found


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((only(folder) / "outcome.json").read_text(encoding="utf-8"))


def scalars(folder: Path) -> list[dict[str, str]]:
    with (only(folder) / "scalars.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    places = {processes: tmp_path / str(processes) for processes in (1, 2)}
    for processes, place in places.items():
        place.mkdir()
        done = run(place, [*SMALL, "train=3"], processes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("took all its steps") == 1
    single, shared = (scalars(place) for place in places.values())
    assert [row["step"] for row in shared] == [row["step"] for row in single]
    for one, two in zip(single, shared, strict=True):
        for name in ("loss", "gradient_norm", "step_length"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-11)
    again = run(places[2], [*SMALL, "train=3"])
    assert again.returncode == 0
    assert again.stdout.count("finished before") == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_dies_ends_all_with_a_message(tmp_path: Path, how: str) -> None:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    words = ["topic=descent", "network=custom", "network._target_=nets.Failing", "data=digits", "data.rows=61"]
    began = time.monotonic()
    done = run(tmp_path, [*words, "steps=100000"], HOW=how)
    assert done.returncode != 0
    assert time.monotonic() - began < 90
    told = outcome(tmp_path)
    assert told["status"] == "failed"
    expected = "rank 1: ArithmeticError: the layer broke" if how == "raise" else "rank 0 has lost the other ranks"
    assert expected in told["error"]
    assert expected in done.stdout + done.stderr


@pytest.mark.slow
def test_a_signal_ends_all_and_the_same_command_goes_on(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    words = [*SMALL[:-1], "steps=1500"]
    for place in (whole, parted):
        place.mkdir()
    assert run(whole, words).returncode == 0
    with subprocess.Popen(command(words, 2), cwd=parted, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not list(parted.glob("outputs/descent/*/scalars.csv")):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert outcome(parted)["status"] == "interrupted"
    assert run(parted, words).returncode == 0
    assert (only(parted) / "scalars.csv").read_bytes() == (only(whole) / "scalars.csv").read_bytes()


@pytest.mark.slow
def test_mistakes_are_told_once(tmp_path: Path) -> None:
    for words in (["topic=descent", "network=mlp", "data=digits", "data.rows=0"], ["-m", "topic=descent", "lr=1,2"]):
        done = run(tmp_path, words)
        assert done.returncode != 0
        assert done.stderr.count("calclab: ") == 1, done.stderr
    assert not (tmp_path / "outputs").exists()
