"""A search: what Hydra's grammar says is searched, a database remembers, and a cut leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", minversion="4.0", reason="pip install 'calclab[optuna]'")

SEARCH = "'lr=tag(log, interval(1e-4,1e-1))' hydra/sweeper=optuna"


def told(engine) -> dict[str, Any]:
    (path,) = (engine.place / "outputs" / "sweeps").glob("*/optuna.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_killed_search_goes_on_as_if_it_had_never_stopped(engine, until, tmp_path: Path) -> None:
    ask = f"topic=descent function._target_=own_of_engines.waits function.at=[1,2] {SEARCH} steps=1000 tol=0"
    search = engine.start(f"{ask} hydra.sweeper.n_trials=3")
    until(lambda: engine.runs("completed"), search)
    engine.hold()
    until(lambda: engine.runs("running"), search)
    search.kill()
    search.communicate()
    done = {path: (path / "outcome.json").stat().st_mtime_ns for path in engine.runs("completed")}
    cut = set(engine.runs("running"))
    assert done
    engine.hold(False)

    result = engine(f"{ask} hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stdout + result.stderr
    begun = told(engine)["trials"]
    assert [trial["state"] for trial in begun].count("complete") == len(engine.table()) == 3
    assert "fail" in [trial["state"] for trial in begun]  # the one that was cut; its run was gone on with
    assert cut <= set(engine.runs("completed"))
    result = engine(f"{ask} hydra.sweeper.n_trials=5")
    assert result.returncode == 0, result.stdout + result.stderr
    whole = told(engine)
    assert whole["trials"][: len(begun)] == begun
    complete = [trial for trial in whole["trials"] if trial["state"] == "complete"]
    assert len(complete) == len(engine.table()) == 5
    assert {path: (path / "outcome.json").stat().st_mtime_ns for path in done} == done  # nothing was computed twice
    assert whole["best"]["value"] == min(trial["value"] for trial in complete)
    assert whole["best"]["overrides"] in result.stdout
    assert (tmp_path / whole["best"]["folder"] / "outcome.json").is_file()
    assert all(1e-4 <= trial["values"]["lr"] <= 1e-1 for trial in complete)

    (tmp_path / "outputs").rename(tmp_path / "cut")
    engine(f"{ask} hydra.sweeper.n_trials=5")
    assert [t["values"] for t in told(engine)["trials"]] == [t["values"] for t in complete]


@pytest.mark.slow
def test_diverged_is_pruned_and_failed_is_tried_anew(engine) -> None:
    target = "'function._target_=choice(own_of_engines.good,own_of_engines.bad)'"
    grid = "hydra/sweeper=optuna hydra.sweeper.sampler=grid hydra.sweeper.n_trials=4"
    result = engine(f"topic=descent {target} function.at=[1,2] lr=0.1,5 steps=400 {grid}")
    assert result.returncode == 2, result.stdout + result.stderr
    states = {trial["overrides"]: trial["state"] for trial in told(engine)["trials"]}
    assert len(states) == len(engine.table()) == 4, result.stdout + result.stderr
    for overrides, state in states.items():
        expected = "fail" if ".bad" in overrides else "complete" if "lr=0.1" in overrides else "pruned"
        assert state == expected, overrides


@pytest.mark.slow
def test_any_launcher_computes_the_trials(engine) -> None:
    more = "hydra/launcher=joblib hydra.launcher.n_jobs=2 hydra.sweeper.n_jobs=2 hydra.sweeper.n_trials=4"
    result = engine(f"topic=descent function=booth {SEARCH} steps=10 {more}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(told(engine)["trials"]) == len(engine.table()) == 4
    drawn = [line.split()[-1] for line in result.stdout.splitlines() if line.endswith(".png")]
    assert [Path(path).name for path in drawn] == ["sweep.png", "history.png"]
    assert all((engine.place / path).is_file() for path in drawn)


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
