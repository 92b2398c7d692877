"""``torchrun ... -m calclab``: one run on two processes, written once, and ended as a whole."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calclab.app import ranks
from calclab.app import run as answer
from calclab.errors import UserError

Lab = Callable[[str], Any]
SMALL = ["topic=descent", "network=mlp", "network.width=4", "data=blobs", "data.rows=61"]
NETS = '''
import math, os, signal, torch

class Failing(torch.nn.Module):
    """A linear layer that, on rank 1 and from its tenth derivative on, does what HOW says."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.linear = torch.nn.Linear(math.prod(shape), outputs)
        self.calls = 0

    def forward(self, x):
        self.calls += torch.is_grad_enabled()
        if self.calls > 10 and os.environ.get("RANK") == "1":
            if os.environ["HOW"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("the layer broke")
        return self.linear(x.flatten(1))
'''


def command(words: list[str]) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [sys.executable, *torchrun, "-m", "calclab", *words]


def run(folder: Path, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    around = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command(words), cwd=folder, env=around, capture_output=True, text=True, timeout=300)


def only(folder: Path) -> Path:
    (found,) = (folder / "outputs" / "descent").iterdir()
    return found


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((only(folder) / "outcome.json").read_text(encoding="utf-8"))


def scalars(folder: Path) -> list[dict[str, str]]:
    with (only(folder) / "scalars.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stop_at_first_sight(folder: Path, words: list[str]) -> None:
    """Begin a run and end it by SIGTERM as soon as its table is there."""
    with subprocess.Popen(command(words), cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(folder.glob("outputs/descent/*/scalars.csv")):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def test_a_rank_leaves_signals_to_the_first_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks, "join_group", lambda patience: None)
    monkeypatch.setattr(ranks, "leave_group", lambda: None)
    before = signal.getsignal(signal.SIGTERM)

    def action() -> int:
        assert callable(signal.getsignal(signal.SIGTERM))  # otherwise the next line ends this process
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert ranks.as_rank(action) == 0
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_two_processes_stopped_and_gone_on_write_what_one_writes(lab: Lab, tmp_path: Path) -> None:
    words = [*SMALL, "train=3", "steps=1000", "figures=false"]
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    for place in (whole, parted):
        place.mkdir()
    done = run(whole, words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("took all its steps") == 1
    assert outcome(whole)["provenance"]["ranks"] == 2
    stop_at_first_sight(parted, words)
    assert outcome(parted)["status"] == "interrupted"
    assert 0 < len(scalars(parted)) < 1001
    assert run(parted, words).returncode == 0
    assert (only(parted) / "scalars.csv").read_bytes() == (only(whole) / "scalars.csv").read_bytes()
    again = run(parted, words)
    assert again.returncode == 0
    assert again.stdout.count("finished before") == 1

    assert lab(" ".join(words)).status == 0  # one process, in tmp_path
    single, shared = scalars(tmp_path), scalars(whole)
    assert [row["step"] for row in shared] == [row["step"] for row in single]
    for one, two in zip(single[:40], shared[:40], strict=True):  # later on, rounding errors have grown
        for name in ("loss", "gradient_norm", "step_length"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_dies_ends_all_with_a_message(tmp_path: Path, how: str) -> None:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    words = ["topic=descent", "network=custom", "network._target_=nets.Failing", "data=blobs", "data.rows=61"]
    done = run(tmp_path, [*words, "steps=100000"], HOW=how)
    assert done.returncode != 0
    told = outcome(tmp_path)
    assert told["status"] == "failed"
    expected = "rank 1: ArithmeticError: the layer broke" if how == "raise" else "rank 0 has lost the other ranks"
    assert expected in told["error"]
    assert expected in done.stdout + done.stderr


@pytest.mark.slow
def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    done = run(tmp_path, ["topic=descent", "network=mlp", "data=blobs", "data.rows=0"])
    assert done.returncode != 0
    assert done.stderr.count("calclab: ") == 1, done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_is_not_shared_by_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="Leave torchrun out"):
        answer(["-m", "topic=descent", "lr=1,2"])


LEFT = """
import contextlib
import time
from datetime import timedelta
from pathlib import Path

import torch

from calclab.app.ranks import join_group, leave_group

join_group(timedelta(seconds=60))
import torch._dynamo  # as forward mode does, while the group exists

torch.distributed.all_reduce(torch.ones(3))


def names():
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            found.append((task / "comm").read_text())
    return found


assert any("gloo" in name for name in names()), names()
leave_group()
for _ in range(100):  # a thread that was joined may still be listed for a moment
    if not any("gloo" in name for name in names()):
        break
    time.sleep(0.1)
else:
    raise AssertionError(names())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have names where there is a /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        around = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    done = subprocess.run(
        [sys.executable, "-c", LEFT],
        cwd=tmp_path,
        env={**around, "RANK": "0", "WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
