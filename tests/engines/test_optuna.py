"""A search: what Hydra's grammar says is searched, a database remembers, and a cut leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", minversion="4.0", reason="pip install 'calclab[optuna]'")

ASK = "topic=descent function=booth 'lr=tag(log, interval(1e-4,1e-1))' steps=10 hydra/sweeper=optuna"


def told(place: Path) -> dict[str, Any]:
    (path,) = place.glob("*/sweeps/*/optuna.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_same_command_goes_on_as_if_it_had_never_stopped(engine, table, tmp_path: Path) -> None:
    first = engine(f"{ASK} hydra.sweeper.n_trials=5")
    assert first.returncode == 0, first.stdout + first.stderr
    begun = told(tmp_path)["trials"]
    assert len(begun) == 5
    folders = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "descent").glob("*/outcome.json")}
    second = engine(f"{ASK} hydra.sweeper.n_trials=8")
    assert second.returncode == 0, second.stdout + second.stderr
    whole = told(tmp_path)
    assert whole["trials"][:5] == begun
    assert len(whole["trials"]) == len(table()) == 8
    assert {path: path.stat().st_mtime_ns for path in folders} == folders  # nothing was computed twice
    assert whole["best"]["value"] == min(t["value"] for t in whole["trials"] if t["state"] == "complete")
    assert whole["best"]["overrides"] in second.stdout
    assert (tmp_path / whole["best"]["folder"] / "outcome.json").is_file()
    assert all(1e-4 <= trial["values"]["lr"] <= 1e-1 for trial in whole["trials"])

    (tmp_path / "outputs").rename(tmp_path / "cut")
    engine(f"{ASK} hydra.sweeper.n_trials=8")
    straight = json.loads(next((tmp_path / "outputs").glob("sweeps/*/optuna.json")).read_text())
    assert [t["values"] for t in straight["trials"]] == [t["values"] for t in whole["trials"]]


@pytest.mark.slow
def test_a_killed_trial_is_taken_up_again(engine, tmp_path: Path) -> None:
    engine(f"{ASK} hydra.sweeper.n_trials=2")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/outputs/optuna.db")
    left = study.ask({"lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)})  # RUNNING, as by SIGKILL
    result = engine(f"{ASK} hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stdout + result.stderr
    trials = told(tmp_path)["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "fail", "complete"]
    assert trials[3]["values"]["lr"] == left.params["lr"]


@pytest.mark.slow
def test_diverged_is_pruned_and_failed_is_tried_anew(engine, table, tmp_path: Path) -> None:
    target = "'function._target_=choice(own_functions_of_engines.good,own_functions_of_engines.bad)'"
    ask = f"topic=descent {target} function.at=[1,2] lr=0.1,5 steps=400 hydra/sweeper=optuna hydra.sweeper.sampler=grid"
    result = engine(f"{ask} hydra.sweeper.n_trials=4")
    assert result.returncode != 0
    states = {trial["overrides"]: trial["state"] for trial in told(tmp_path)["trials"]}
    assert len(states) == 4, result.stdout + result.stderr
    for overrides, state in states.items():
        expected = "fail" if ".bad" in overrides else "complete" if "lr=0.1" in overrides else "pruned"
        assert state == expected, overrides
    assert len(table()) == 4


@pytest.mark.slow
def test_any_launcher_computes_the_trials(engine, table, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'calclab[joblib]'")
    more = "hydra/launcher=joblib hydra.launcher.n_jobs=2 hydra.sweeper.n_jobs=2 hydra.sweeper.n_trials=4"
    result = engine(f"{ASK} {more}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(told(tmp_path)["trials"]) == len(table()) == 4


def test_the_grammar_gives_the_search_space() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from calclab.app import studies

    studies.register()
    from hydra_plugins.calclab_optuna import distribution
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def of(text: str) -> Any:
        return distribution(OverridesParser.create().parse_override(text))

    assert of("lr=interval(0.1,2)") == FloatDistribution(0.1, 2.0)
    assert of("lr=tag(log, interval(1e-4,1e-1))") == FloatDistribution(1e-4, 1e-1, log=True)
    assert of("steps=int(interval(1,100))") == IntDistribution(1, 100)
    assert of("steps=range(10,30,5)") == IntDistribution(10, 25, step=5)
    assert of("steps=10,20") == CategoricalDistribution(["10", "20"])
    assert of("network=choice(mlp,cnn)") == CategoricalDistribution(["mlp", "cnn"])
    assert "mlp" in of("network=glob(*)").choices


@pytest.mark.parametrize(
    ("more", "phrase"),
    [
        ("hydra.sweeper.direction=up", "minimize, maximize"),
        ("hydra.sweeper.sampler=best", "tpe, random"),
        ("hydra.sweeper.n_trials=0", "n_trials"),
        ("hydra.sweeper.sampler=grid", "interval"),
        ("lr=tag(log,interval(0.5,0.1))", "rise"),
    ],
)
def test_a_mistake_is_told_in_one_line(more: str, phrase: str, capsys, monkeypatch, tmp_path: Path) -> None:
    from calclab.app import main

    monkeypatch.chdir(tmp_path)
    lr = [] if more.startswith("lr=") else ["lr=interval(0.1,0.5)"]
    assert main(["-m", "topic=descent", *lr, "hydra/sweeper=optuna", more]) == 2
    error = capsys.readouterr().err
    assert phrase in error
    assert error.count("\n") == 1
