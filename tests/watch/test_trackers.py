"""A watch logs into MLflow and W&B for real: into the user's run, or into one of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import calclab
from calclab.app import trackers
from calclab.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def trained(log: Any, loop: Any = lambda step, loss: None) -> calclab.Watch:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)
    with calclab.Watch(model, criterion, optimizer, log=log, every=2, budget=None, quantities=("norms",)) as watch:
        for step in range(1, 9):
            x, y = torch.randn(32, 4), torch.randint(0, 2, (32,))
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step((x, y))
            loop(step, float(loss))
    return watch


def read(watch: calclab.Watch) -> dict[str, dict[int, float]]:
    rows = watch.values
    return {name: dict(zip(part.step, part.value, strict=True)) for name, part in rows.groupby("name")}


def in_mlflow(number: str) -> dict[str, dict[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient()
    names = client.get_run(number).data.metrics
    return {name: {m.step: m.value for m in client.get_metric_history(number, name)} for name in names}


def test_the_run_of_mlflow_that_is_active_is_logged_into_and_left_open() -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs an extra: pip install 'calclab[mlflow]'")
    with mlflow.start_run() as run:
        watch = trained("mlflow", lambda step, loss: mlflow.log_metric("own", loss, step=step))
        found = in_mlflow(run.info.run_id)
        again = trained(run)
    assert [*found.pop("own")] == list(range(1, 9))
    assert found.keys() >= read(watch).keys()
    for name, course in read(watch).items():
        assert found[name] == pytest.approx(course, nan_ok=True, rel=0)
    assert read(again).keys() == read(watch).keys()
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"  # by the user's own block


def test_without_an_active_run_of_mlflow_one_is_made_and_ended() -> None:
    pytest.importorskip("mlflow", reason="needs an extra: pip install 'calclab[mlflow]'")
    from mlflow import MlflowClient

    watch = trained("mlflow")
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("calclab").experiment_id])
    assert run.info.status == "FINISHED"
    assert in_mlflow(run.info.run_id).keys() >= read(watch).keys()


def in_wandb(folder: Path) -> list[dict[str, Any]]:
    """The rows of history of the one run."""
    import struct

    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    raw, place, rows = path.read_bytes(), 7, []
    whole = b""
    while place + 7 <= len(raw):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", raw[place : place + 7])
        whole += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if record.HasField("history"):
                found = record.history.item
                rows.append({e.key or "/".join(e.nested_key): json.loads(e.value_json) for e in found})
    return rows


@pytest.mark.parametrize("word", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_the_run_of_wandb_keeps_every_row_of_the_trainings_own_and_every_reading(
    here: Path, word: bool, numbered: bool
) -> None:
    wandb = pytest.importorskip("wandb", reason="needs an extra: pip install 'calclab[wandb]'")
    with wandb.init(settings=wandb.Settings(silent=True, console="off")) as run:
        log = run.log if not numbered else lambda row, k: run.log(row, step=k)
        watch = trained("wandb" if word else run, lambda step, loss: log({"own": loss}, *([step] if numbered else [])))
    rows = in_wandb(here)
    assert sum("own" in row for row in rows) == 8
    for name, course in read(watch).items():
        there = {row["watch/step"]: row[name] for row in rows if name in row}
        assert there == pytest.approx(course, nan_ok=True, rel=1e-15)


def test_without_an_active_run_of_wandb_one_is_made_and_ended(here: Path) -> None:
    pytest.importorskip("wandb", reason="needs an extra: pip install 'calclab[wandb]'")
    watch = trained("wandb")
    rows = in_wandb(here)
    for name, course in read(watch).items():
        there = {row["watch/step"]: row[name] for row in rows if name in row}
        assert there == pytest.approx(course, nan_ok=True, rel=1e-15)


def test_without_its_library_a_log_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"log=wandb needs an extra: pip install 'calclab\[wandb\]'"):
        trained("wandb")
