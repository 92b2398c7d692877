"""What a crash cannot hurt: full disks, dying workers, interrupted sweeps; and the same question asked again."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from calclab.app.place import Place
from calclab.app.rerun import main as rerun
from calclab.archive.lock import hold
from calclab.errors import UserError

OWN = """
import os, sys, torch
def good(x):
    return (x**2).sum()
def leaves(x):
    sys.exit(7)
def crashes(x):
    os.kill(os.getpid(), 11)
def eaten(x):
    os.kill(os.getpid(), 9)
def breaks(x):
    raise RuntimeError("out of luck")
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
    def forward(self, x):
        if os.path.exists("broken"):
            raise RuntimeError("the layer broke")
        return self.layer(x)
"""


def limited() -> None:
    """No file of this process may grow past 60 kB: what a full disk does, without one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(lab, tmp_path: Path) -> None:
    line = ["topic=descent", "steps=4000", "tol=0", "figures=false", "checkpoint_every=0.001"]
    command = [sys.executable, "-m", "calclab", *line]
    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limited, timeout=120)
    assert full.returncode == 1
    assert "File too large" in full.stdout
    assert "goes on from there" in full.stdout
    assert "Traceback" not in full.stderr
    (record,) = (tmp_path / "outputs").rglob("outcome.json")
    assert json.loads(record.read_text())["status"] == "failed"
    kept = (record.parent / "scalars.csv").read_bytes()
    assert kept.endswith(b"\n")
    result = lab(" ".join(line))
    assert result.status == 0, result.out
    whole = (record.parent / "scalars.csv").read_bytes()
    assert whole.startswith(kept[:1000])
    assert lab(" ".join(line) + " outputs=elsewhere").status == 0
    (other,) = (tmp_path / "elsewhere").rglob("scalars.csv")
    assert whole == other.read_bytes()


def test_an_error_in_a_network_is_told_and_the_run_can_be_tried_again(lab, tmp_path: Path) -> None:
    (tmp_path / "own_broken_module.py").write_text(
        OWN.replace("class Net", "calls = 0\nclass Net").replace(
            'if os.path.exists("broken")', "global calls\n        calls += 1\n        if calls > 30"
        )
    )
    line = "topic=descent network._target_=own_broken_module.Net data=iris lr=0.1 steps=50 figures=false"
    result = lab(line)
    assert result.status == 2
    assert "the layer broke" in result.out
    (record,) = (tmp_path / "outputs").rglob("outcome.json")
    assert json.loads(record.read_text())["status"] == "failed"
    assert "RuntimeError" in (record.parent / "error.log").read_text()
    sys.modules["own_broken_module"].calls = -10_000  # type: ignore[attr-defined]
    assert lab(line).status == 0


def test_jobs_that_die_cost_themselves_alone(lab, tmp_path: Path) -> None:
    (tmp_path / "own_dying.py").write_text(OWN)
    names = ("good", "leaves", "crashes", "eaten", "breaks")
    target = ",".join(f"own_dying.{name}" for name in names)
    line = f"-m topic=derivative function._target_={target} function.at=[1,2] figures=false"
    result = lab(f"{line} seed=1,2")
    assert result.status == 1
    (path,) = (tmp_path / "outputs" / "sweeps").glob("*/sweep.csv")
    rows = pd.read_csv(path)
    assert rows["status"].tolist() == ["completed"] * 2 + ["failed"] * 8
    errors = rows["error"].fillna("").tolist()
    assert "SystemExit: 7" in errors[2]
    assert "SIGSEGV" in errors[4]
    assert "SIGKILL" in errors[6]
    assert "out of luck" in errors[8]


def test_a_sweep_runs_only_what_is_missing(lab, tmp_path: Path) -> None:
    assert lab("-m topic=descent lr=0.001,0.002 steps=5 figures=false").status == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").rglob("outcome.json")}
    assert lab("-m topic=descent lr=0.001,0.002,0.003 steps=5 figures=false").status == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").rglob("outcome.json")}
    assert len(after) == 3
    assert all(after[path] == when for path, when in before.items())


def test_fail_fast_ends_a_sweep_at_the_first_failure(lab, tmp_path: Path) -> None:
    (tmp_path / "own_dying_fast.py").write_text(OWN)
    target = "own_dying_fast.breaks,own_dying_fast.good"
    line = f"-m topic=derivative function._target_={target} function.at=[1,2] figures=false fail_fast=true"
    assert lab(line).status != 0
    (path,) = (tmp_path / "outputs" / "sweeps").glob("*/sweep.csv")
    assert pd.read_csv(path)["status"].tolist() == ["failed"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sweep_says_how_to_go_on(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "calclab", "-m", "topic=descent", "lr=0.0001,0.0002", "steps=100000000", "tol=0"]
    run = subprocess.Popen(
        [*command, "figures=false"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(600):
        if any(path.stat().st_size > 10_000 for path in (tmp_path / "outputs").rglob("scalars.csv")):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the run has not begun")
    run.send_signal(number)
    if number == signal.SIGINT:  # a terminal sends it to the whole group
        os.killpg(run.pid, signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == status
    assert "interrupted" in out
    assert "the same command goes on" in out


def test_a_killed_run_is_seen_as_interrupted_and_goes_on(lab, tmp_path: Path) -> None:
    line = ["topic=descent", "steps=30000", "tol=0", "lr=0.0001", "figures=false", "checkpoint_every=0.05"]
    run = subprocess.Popen([sys.executable, "-m", "calclab", *line], cwd=tmp_path, stdout=subprocess.DEVNULL)
    for _ in range(600):
        if list((tmp_path / "outputs").rglob("checkpoint.pt")):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the run has not begun")
    run.kill()
    run.wait()
    (record,) = (tmp_path / "outputs").rglob("outcome.json")
    assert json.loads(record.read_text())["status"] == "running"
    import calclab

    assert calclab.load(tmp_path / "outputs")["status"].tolist() == ["interrupted"]
    assert torch.load(record.parent / "checkpoint.pt", weights_only=True)["step"] >= 0
    assert lab(" ".join(line)).status == 0
    assert len(pd.read_csv(record.parent / "scalars.csv")) == 30001


def test_rerun_says_whether_the_numbers_are_the_same(lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab("topic=descent network=linear data=iris steps=10 lr=0.1 figures=false").status == 0
    (folder,) = (tmp_path / "outputs" / "descent").iterdir()
    assert rerun([str(folder)]) == 0
    assert "bit for bit" in capsys.readouterr().out
    table = pd.read_csv(folder / "scalars.csv")
    table.loc[3, "loss"] *= 1 + 1e-6
    table.to_csv(folder / "scalars.csv", index=False)
    assert rerun([str(folder)]) == 3
    assert "loss in row 4" in capsys.readouterr().out
    assert rerun([str(tmp_path / "nowhere")]) == 2


def test_rerun_says_that_a_run_ended_otherwise(lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though every number is the same."""
    assert lab("topic=descent network=linear data=iris steps=10 lr=0.1 figures=false").status == 0
    (folder,) = (tmp_path / "outputs" / "descent").iterdir()
    record = json.loads((folder / "outcome.json").read_text())
    assert record["status"] == "completed"
    (folder / "outcome.json").write_text(json.dumps({**record, "status": "converged"}))
    assert rerun([str(folder)]) == 3
    printed = capsys.readouterr().out
    assert "differs   status: converged then, completed now" in printed
    assert "the numbers are not the same" in printed


def test_who_computes_is_told_before_the_run_has_written_anything(lab, tmp_path: Path) -> None:
    line = "topic=derivative steps=3 figures=false"
    assert lab(line).status == 0
    (folder,) = (tmp_path / "outputs" / "derivative").iterdir()
    shutil.rmtree(folder)
    (lock,) = (tmp_path / "outputs" / ".locks").glob("*.lock")
    with hold(lock):
        result = lab(line)
    assert result.status == 2
    assert f"is being computed by process {os.getpid()} on " in result.err


def test_the_same_question_in_other_words_at_the_same_moment_is_one_run(tmp_path: Path) -> None:
    one, other = (Place(tmp_path, "t", "0" * 12, tmp_path / "t" / f"{name}-{'0' * 12}", {}) for name in ("a", "b"))
    with one.held():
        one.folder.mkdir(parents=True)
        with pytest.raises(UserError, match="is being computed"), other.held():
            pass
    with pytest.raises(UserError, match="is this run, begun meanwhile"), other.held():
        pass
    assert not other.folder.exists()
    with one.held():
        pass


def test_a_disk_that_is_full_before_the_run_begins_is_one_line(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        result = lab("topic=derivative steps=3 figures=false")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "No space left on device" in result.err
    assert "Make room" in result.err
