"""Runs in experiment trackers: they hold what the folders hold, once, and nothing leaves the machine."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

import calclab
from calclab.sink.tracker import logged

WALK = "topic=descent function=rosenbrock steps=20"


def test_mlflow_holds_every_number_knob_and_file_of_a_run(lab, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs an extra: pip install 'calclab[mlflow]'")
    from mlflow import MlflowClient

    assert lab(f"{WALK} lr=0.001").status == 0
    assert lab(f"-m {WALK} lr=0.002,0.1").status == 0
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    done = lab(f"export mlflow outputs/descent '{sweep}' --project walks --to store")
    assert (done.status, done.out.count("file://")) == (0, 3)
    client = MlflowClient(tracking_uri=(tmp_path / "store").as_uri())
    experiment = client.get_experiment_by_name("walks").experiment_id
    kept = {run.data.tags["calclab.digest"]: run for run in client.search_runs([experiment])}
    assert kept.pop(sweep.name).data.tags["topic"] == "sweep"  # the parent of two of them
    for folder in (path for path in (tmp_path / "outputs" / "descent").iterdir() if path.is_dir()):
        run = calclab.load(folder)
        there = kept.pop(run.digest)
        assert there.info.status == ("FAILED" if run.status == "diverged" else "FINISHED")
        assert there.data.params == {name: str(value) for name, value in run.knobs.items()}
        for name in run.scalars.columns:
            history = {m.step: m.value for m in client.get_metric_history(there.info.run_id, name)}
            steps, values = logged(folder)[name]  # where a cell is empty, there is no number
            assert [*history] == list(steps)
            for step, value in zip(steps, values, strict=True):
                assert (
                    history[step] == value
                    or (math.isnan(history[step]) and math.isnan(value))
                    or (
                        abs(history[step]) == sys.float_info.max and math.isinf(value)  # so MLflow keeps an infinity
                    )
                )
        files = {entry.path for entry in client.list_artifacts(there.info.run_id)}
        assert files >= {path.name for path in folder.iterdir()}
    assert not kept
    again = lab("export mlflow outputs/descent --project walks --to store")
    assert again.out.count("already") == 3
    assert len(client.search_runs([experiment])) == 4


def test_wandb_keeps_runs_here_until_they_are_sent(lab, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs an extra: pip install 'calclab[wandb]'")
    assert lab(f"{WALK} lr=0.001").status == 0
    done = lab("export wandb outputs/descent --to kept")
    assert done.status == 0, done.err
    (folder,) = (tmp_path / "kept" / "wandb").glob("offline-run-*")
    assert f"wandb sync kept/wandb/{folder.name}" in done.out
    (run,) = (calclab.load(path) for path in (tmp_path / "outputs" / "descent").iterdir() if path.is_dir())
    import wandb

    wandb.teardown()  # its own process writes a little later
    written = next(folder.glob("*.wandb")).read_bytes()  # a log of records, numbers as JSON
    for value in run.scalars["loss"]:
        assert json.dumps(value).encode() in written
    assert b"function.at" in written
    assert len(list(folder.glob("files/media/images/**/*.png"))) == len(list(run.folder.glob("*.png"))) > 0
    assert "already" in lab("export wandb outputs/descent --to kept").out


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_without_its_library_a_tracker_names_its_extra(lab, monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    monkeypatch.setattr("calclab.app.trackers.find_spec", lambda name: None)
    done = lab(f"export {tracker} outputs")
    assert done.status == 2
    assert f"pip install 'calclab[{tracker}]'" in done.err


def test_what_is_no_run_is_said_in_a_line(lab) -> None:
    pytest.importorskip("mlflow")
    done = lab("export mlflow nothing")
    assert done.status == 2
    assert "nothing" in done.err
    assert "Traceback" not in done.err
