"""Every engine that the lab knows really runs: same numbers, a row for every job, a crash costs its own job alone."""

from __future__ import annotations

from pathlib import Path

import pytest

LAUNCHERS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "ray",
}
MORE = {"joblib": " hydra.launcher.n_jobs=2", "ray": " hydra.launcher.init.num_cpus=2"}
EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(LAUNCHERS[name], reason=f"pip install 'calclab[{EXTRAS[name]}]'")
    return f"hydra/launcher={name}" + MORE.get(name, "")


@pytest.mark.slow
def test_the_same_numbers_and_the_same_folders(engine, table, launcher: str, tmp_path: Path) -> None:
    ask = "topic=descent function=booth lr=0.01,0.02 steps=30"
    first = engine(f"{ask} {launcher}")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "UserWarning" not in first.stderr
    there = table()
    assert there["status"].tolist() == ["completed"] * 2
    files = {path: path.read_bytes() for path in (tmp_path / "outputs" / "descent").glob("*/scalars.csv")}
    assert len(files) == 2
    again = engine(f"{ask} rerun=true hydra/launcher=lab")
    assert again.returncode == 0, again.stdout + again.stderr
    assert table()["folder"].tolist() == there["folder"].tolist()
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.slow
def test_a_crash_costs_its_job_alone(engine, table, launcher: str) -> None:
    kinds = ("bad", "deadly", "good", "quits")
    target = ",".join(f"own_functions_of_engines.{kind}" for kind in kinds)
    result = engine(f"topic=descent function._target_={target} function.at=[1,2] lr=0.1,0.2 steps=3 {launcher}")
    rows = table()
    assert len(rows) == 8, result.stdout + result.stderr
    for row in rows.itertuples():
        assert (row.status == "completed") == (".good" in row.overrides), row
    deadly = rows[rows["overrides"].str.contains("deadly")]
    assert deadly["error"].str.contains("SIGSEGV").all()
    assert result.returncode != 0
    assert "6 failed" in result.stdout


def test_slurm_is_given_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install 'calclab[submitit]'")
    import submitit
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    from calclab.app.compose import compose

    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)  # all that is needed to believe that this is a cluster
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda self, *jobs: asked.append(self) or [])
    config = compose(["topic=descent", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=short"])
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.sweep.dir = "sweep"
    launcher = Plugins.instance()._instantiate(config.hydra.launcher)
    launcher.config = config
    launcher.launch([["lr=0.1"], ["lr=0.2"]], 0)
    script = asked[0]._executor._make_submission_file_text("python job", "id")
    for line in ("--partition=short", "--cpus-per-task=1", "--mem=4GB", "--time=60", "--job-name=calclab"):
        assert f"#SBATCH {line}" in script, script


@pytest.mark.parametrize("choice", ["hydra/launcher=ray", "hydra/sweeper=optuna"])
def test_a_missing_extra_is_told_in_one_line(choice: str, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    from calclab.app import extras, main

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
