"""Every engine that the lab knows really runs: same numbers, a row for every job, a crash costs its own job alone."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

MODULES = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}
MORE = {"joblib": " hydra.launcher.n_jobs=2", "ray": " hydra.launcher.init.num_cpus=2"}
ONE_AT_A_TIME = {"joblib": " hydra.launcher.n_jobs=1", "submitit_local": " hydra.launcher.cpus_per_task=4096"}
ASK = (
    "topic=descent function._target_=own_of_engines.good,own_of_engines.waits function.at=[1,2] lr=0.01 steps=1000 "
    "tol=0"
)


def chosen(name: str) -> str:
    """What to type for a launcher; without its extra, the test is skipped."""
    if find_spec(MODULES[name]) is None:
        pytest.skip(f"pip install 'calclab[{MODULES[name]}]'")
    return f" hydra/launcher={name}{MORE.get(name, '')}"


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_a_crash_costs_its_job_alone(engine, reference: Path, name: str) -> None:
    kinds = ["bad", "deadly", "good", "quits", "killed" if name == "joblib" else "kills_its_engine"]
    target = ",".join(f"own_of_engines.{kind}" for kind in kinds)
    ask = ASK.replace("own_of_engines.good,own_of_engines.waits", target)
    result = engine(ask + chosen(name))
    rows = engine.table()
    assert rows["status"].tolist() == ["completed" if kind == "good" else "failed" for kind in kinds], rows["error"]
    errors = dict(zip(kinds, rows["error"], strict=True))
    assert "out of luck" in errors["bad"]
    assert "SIGSEGV" in errors["deadly"]
    assert "SystemExit: 7" in errors["quits"]
    assert "the process of this job was" in errors[kinds[-1]]
    assert result.returncode == 1, result.stdout + result.stderr
    assert "4 failed" in result.stdout
    assert "Warning" not in result.stderr
    (folder,) = engine.runs("completed")
    same(folder, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("joblib", signal.SIGINT),
        ("joblib", signal.SIGTERM),
        # submitit's own processes hear Ctrl-C too: on a busy machine one may be gone before its job has a row
        pytest.param("submitit_local", signal.SIGINT, marks=pytest.mark.minutes),
        pytest.param("submitit_local", signal.SIGTERM, marks=pytest.mark.minutes),
        pytest.param("ray", signal.SIGINT, marks=pytest.mark.minutes),
    ],
)
def test_a_sweep_that_is_stopped_goes_on_to_the_same_bytes(engine, until, reference: Path, name: str, number) -> None:
    command = ASK + chosen(name)
    engine.hold()
    sweep = engine.start(command)
    until(lambda: engine.runs("completed") and engine.logged() == 2, sweep)  # one is done, one half way
    if number == signal.SIGINT:
        os.killpg(sweep.pid, number)  # as Ctrl-C does
    else:
        sweep.send_signal(number)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 128 + number, out + err
    assert "the same command goes on" in out
    assert "Traceback" not in err
    assert sorted(engine.table()["status"]) == ["completed", "interrupted"], out + err
    assert len(engine.runs("interrupted")) == 1  # saved, and let go
    engine.hold(False)
    result = engine(command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert engine.table()["status"].tolist() == ["completed"] * 2
    for folder in engine.runs("completed"):
        same(folder, reference)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_fail_fast_begins_nothing_after_a_failure(engine, name: str) -> None:
    ask = ASK.replace("own_of_engines.good", "own_of_engines.bad") + " fail_fast=true"
    launcher = chosen(name).removesuffix(MORE.get(name, ""))
    result = engine(ask + launcher + ONE_AT_A_TIME[name])
    assert engine.table()["status"].tolist() == ["failed"], result.stdout + result.stderr
    assert result.returncode != 0


def same(folder: Path, reference: Path) -> None:
    """A run's tables are those of the lab's own launcher, in a folder of the same name."""
    there = reference / "outputs" / "descent" / folder.name
    names = sorted(path.name for path in folder.glob("*.csv"))
    assert names == sorted(path.name for path in there.glob("*.csv"))
    assert names
    for name in names:
        assert (folder / name).read_bytes() == (there / name).read_bytes(), name


def test_slurm_is_given_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen("submitit_local")
    from hydra.core.plugins import Plugins

    from calclab.app.compose import compose

    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)  # all that is needed to believe that this is a cluster
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    config = compose(["topic=descent", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=short"])
    launcher = Plugins.instance()._instantiate(config.hydra.launcher)
    script = launcher.executor()._executor._make_submission_file_text("python job", "id")
    for line in ("--partition=short", "--cpus-per-task=1", "--mem=4GB", "--time=60", "--job-name=calclab"):
        assert f"#SBATCH {line}" in script, script


@pytest.mark.parametrize("choice", ["hydra/launcher=ray", "hydra/sweeper=optuna"])
def test_a_missing_extra_is_told_in_one_line(choice: str, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    from calclab.app import main
    from calclab.app.sweep import extras

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    assert main(["-m", "topic=descent", "lr=0.1,0.2", choice]) == 2
    assert (
        capsys.readouterr().err
        == f"calclab: {choice} needs an extra: pip install 'calclab[{choice.rpartition('=')[2]}]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interval_needs_a_search(capsys) -> None:
    from calclab.app import main

    assert main(["-m", "topic=descent", "lr=interval(0.01,0.1)"]) == 2
    assert "hydra/sweeper=optuna" in capsys.readouterr().err
