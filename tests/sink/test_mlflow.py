"""MLflow for real, on a store of its own: what its client reads back is what the folder holds."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import calclab
from calclab.app import main, trackers
from calclab.archive.run import Run as Kept
from calclab.archive.trackers import kept
from calclab.core import Column, Run
from calclab.errors import UserError
from calclab.sink import tracker
from calclab.sink.csv import CsvSink
from calclab.sink.mlflow import ODD, Mlflow, allowed, make_whole, open_uri
from calclab.sink.tracker import TrackerSink, logged

pytest.importorskip("mlflow", reason="needs an extra: pip install 'calclab[mlflow]'")
WALK = ("topic=descent", "function=rosenbrock", "steps=20", "figures=false")
TO = "sinks=[csv,tensorboard,mlflow]"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database: MLflow takes seconds to make one."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(here: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a database that is empty."""
    (here / "mlflow.db").write_bytes(made.read_bytes())
    uri = f"sqlite:///{here}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def runs(uri: str, project: str = "calclab") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(project)
    return list(client.search_runs([found.experiment_id])) if found else []


def told(uri: str, run: Any) -> dict[str, dict[int, float]]:
    """Every metric by step; a step that is there twice is a mistake."""
    from mlflow import MlflowClient

    client, found = MlflowClient(tracking_uri=uri), {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        found[name] = {metric.step: metric.value for metric in history}
        assert len(found[name]) == len(history), f"{name} has a step twice"
    return found


def as_kept(value: float) -> float:
    """A number as MLflow's database keeps it."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value + 0.0  # no sign of zero


def check_scalars(uri: str, run: Any, folder: Path) -> None:
    there, here = told(uri, run), logged(folder)
    assert here
    for name, (steps, values) in here.items():
        assert [*there[name]] == list(steps)
        assert list(map(repr, there[name].values())) == [repr(as_kept(value)) for value in values]  # nan is nan


def artifacts(uri: str, run: Any) -> set[str]:
    from mlflow import MlflowClient

    return {entry.path for entry in MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id)}


def test_a_run_is_told_whole_while_it_goes_on(store: str) -> None:
    run = calclab.run(*WALK[:3], "lr=0.001", TO)
    (there,) = runs(store)
    check_scalars(store, there, run.folder)
    assert there.info.status == "FINISHED"
    assert there.data.params == {name: str(value) for name, value in run.knobs.items()}
    tags = there.data.tags
    assert (tags["calclab.digest"], tags["topic"], tags["verdict"]) == (run.digest, "descent", run.fact("verdict"))
    assert tags["headline"] == run.outcome["answer"]["headline"]
    numbers = {name for name, value in run.values.items() if isinstance(value, int | float) and math.isfinite(value)}
    assert there.data.metrics.keys() == numbers | set(run.scalars.columns)
    files = {path.name for path in run.folder.iterdir()} - {"trackers.json"}
    assert artifacts(store, there) == files | {"verify.json"}
    table = json.loads((Path(there.info.artifact_uri) / "verify.json").read_text())
    assert table["columns"] == list(run.verify.columns)
    assert len(table["data"]) == len(run.verify)


def test_an_export_brings_what_the_sink_has_told(store: str, made: Path, here: Path) -> None:
    run = calclab.run(*WALK, "lr=0.002", "dtype=float32", TO)
    (here / "other.db").write_bytes(made.read_bytes())
    other = f"sqlite:///{here}/other.db"
    assert main(["export", "mlflow", str(run.folder), "--to", other]) == 0
    (live,), (later,) = runs(store), runs(other)
    assert told(store, live) == told(other, later)
    assert live.data.params == later.data.params
    own = [{k: v for k, v in there.data.tags.items() if k != "mlflow.loggedArtifacts"} for there in (live, later)]
    assert {k: v for k, v in own[0].items() if k != "mlflow.loggedArtifacts"} == own[1]
    assert artifacts(store, live) == artifacts(other, later)
    assert live.info.status == later.info.status
    assert live.info.run_name == later.info.run_name


def test_what_is_there_is_told_once(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = calclab.run(*WALK, TO)
    assert run.status == "diverged"
    assert runs(store)[0].info.status == "FAILED"
    calclab.run(*WALK, TO)
    assert main(["export", "mlflow", str(run.folder)]) == 0
    assert "already" in capsys.readouterr().out
    assert len(runs(store)) == 1


def test_a_finished_run_that_is_asked_for_again_is_put_there(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = calclab.run(*WALK, "lr=0.001")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert not runs(store)
    assert main([*WALK, "lr=0.001", TO]) == 0
    shown = capsys.readouterr().out
    assert "finished before" in shown
    assert "mlflow: sqlite" in shown
    assert main([*WALK, "lr=0.001", TO]) == 0
    assert "mlflow:" not in capsys.readouterr().out
    (there,) = runs(store)
    check_scalars(store, there, run.folder)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != "trackers.json"} == before


def test_a_run_anew_is_another_run(store: str) -> None:
    first = calclab.run(*WALK, "lr=0.001", TO)
    one = kept(first.folder)["mlflow"].run
    calclab.run(*WALK, "lr=0.001", TO, "rerun=true")
    assert kept(first.folder)["mlflow"].run != one
    found = runs(store)
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    for run in found:
        check_scalars(store, run, first.folder)


def columns(*steps: int) -> dict[str, Column]:
    """Numbers of every kind; the second begins late."""
    odd = [0.1, math.nan, math.inf, -math.inf, 1 / 3, -0.0, 5e-324, 1e308]
    found = {"loss": Column(list(steps), torch.tensor([odd[k % 8] for k in steps], dtype=torch.float64))}
    late = [k for k in steps if k > 3]
    if late:
        found["wei‖rd[0]"] = Column(late, torch.tensor([k / 7 for k in late], dtype=torch.float32))
    return found


def test_a_run_that_was_killed_goes_on_in_the_same_run_without_a_step_twice(
    store: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "EVERY", 0.0)
    folder = here / "run"
    folder.mkdir()
    record = {"topic": "descent", "digest": "abc", "choices": {}, "config": {"lr": 0.1, "π": [1, 2]}}
    described = Run("descent", "f", "f", folder, 30, {}, (), {})

    def sink() -> TrackerSink:
        made = TrackerSink(Mlflow(), Kept(folder, record | {"status": "running"}), None)
        made.open(described)
        return made

    csv, first = CsvSink(), sink()
    csv.open(described)
    for steps in (range(3), range(3, 12)):
        csv.write(columns(*steps))
        first.write(columns(*steps))
    first.write(columns(*range(12, 20)))  # told, and never checkpointed
    again = sink()
    for steps in (range(12, 16), range(16, 31)):
        csv.write(columns(*steps))
        again.write(columns(*steps))
    (folder / "outcome.json").write_text(json.dumps(record | {"status": "completed", "steps": 30}))
    again.end(Kept(folder, record | {"status": "completed", "steps": 30}))
    (there,) = runs(store)
    assert there.info.status == "FINISHED"
    found = told(store, there)
    here_ = logged(folder)
    assert [*found["loss"]] == list(range(31))
    assert list(map(repr, found["loss"].values())) == [repr(as_kept(v)) for v in here_["loss"][1]]
    assert [*found[allowed("wei‖rd[0]")].values()] == here_["wei‖rd[0]"][1]


def test_an_interrupted_run_is_killed_there_until_it_goes_on(
    store: str, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    from calclab.app import compute

    words = [*WALK, "lr=0.001", "steps=60", TO]
    with monkeypatch.context() as patch:
        patch.setattr(compute.Pause, "__call__", lambda self, scan: True)  # after the first block
        patch.setattr(compute, "signals", stopped)
        assert main(words) == 130
    (there,) = runs(store)
    assert there.info.status == "KILLED"
    assert main(words) == 0
    (there,) = runs(store)
    assert there.info.status == "FINISHED"
    (folder,) = (path for path in (here / "outputs" / "descent").iterdir() if path.is_dir())
    check_scalars(store, there, folder)


class stopped:  # noqa: N801
    """As if a signal had come."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> list[int]:
        return [2]

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("launcher", ["lab", "batch"])
def test_the_jobs_of_a_sweep_have_a_parent(store: str, here: Path, launcher: str) -> None:
    assert main(["-m", *WALK, "lr=0.001,0.002,0.1", TO, f"hydra/launcher={launcher}"]) == 0
    (sweep,) = (here / "outputs" / "sweeps").iterdir()
    found = {run.info.run_name: run for run in runs(store)}
    parent = found.pop(sweep.name)
    assert len(found) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert "lr=" in parent.data.tags["headline"]
    assert "sweep.csv" in artifacts(store, parent)
    for name, run in found.items():
        check_scalars(store, run, here / "outputs" / "descent" / name)
    assert main(["-m", *WALK, "lr=0.001,0.002,0.1", TO, f"hydra/launcher={launcher}"]) == 0
    assert len(runs(store)) == 4


def test_a_server_that_is_down_costs_a_warning_and_no_number(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = calclab.run(*WALK, "lr=0.001", "outputs=plain")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    capsys.readouterr()
    assert main([*WALK, "lr=0.001", TO]) == 0
    done = capsys.readouterr()
    assert done.err.count("mlflow takes no more of this run") == 1
    assert "export mlflow outputs/descent/" in done.err
    assert "secret" not in done.err + done.out
    folder = here / "outputs" / "descent" / plain.folder.name
    for path in plain.folder.glob("*.csv"):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert calclab.load(folder).status == "completed"
    assert not any(b"secret" in path.read_bytes() for path in folder.iterdir())


def test_a_refused_run_leaves_nothing_there(store: str) -> None:
    with pytest.raises(UserError):
        calclab.run("topic=descent", "function=rosenbrock", "lr=-1", TO)
    assert not runs(store)


def test_without_its_library_a_sink_names_its_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for words in ([*WALK, TO], ["-m", *WALK, "lr=0.1,0.2", TO]):
        with pytest.raises(UserError, match=r"pip install 'calclab\[mlflow\]'"):
            calclab.app.run(words)
    assert not list(here.iterdir())


def test_what_a_configuration_takes_from_the_environment_is_told_as_the_reference(
    store: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = here / "very-secret-name.csv"
    rows.write_text("a,b\n" + "\n".join(f"{k},{2 * k + 1}" for k in range(12)) + "\n")
    monkeypatch.setenv("ROWS", str(rows))
    words = ["topic=descent", "network=linear", "data=table", "data.target=b", "steps=2", "figures=false", TO]
    assert main([*words, "data.path=${oc.env:ROWS}"]) == 0
    (there,) = runs(store)
    assert there.data.params["data.path"] == "${oc.env:ROWS}"
    assert "very-secret-name" not in (here / "mlflow.db").read_bytes().decode(errors="replace")


def test_names_that_mlflow_refuses_are_others_and_stay_two() -> None:
    for name in ("loss", "layer.0.weight", "score/held_out", "a b:c-d"):
        assert allowed(name) == name
    odd = ["x[0]", "x(0)", "../up", "/root", "a//b", ".", "w" * 300, "‖∇f‖", ""]
    made = [allowed(name) for name in odd]
    assert len(set(made)) == len(odd)
    from mlflow.entities import Metric, Param
    from mlflow.utils.validation import _validate_metric, _validate_param

    for name in made:
        assert not ODD.search(name)
        _validate_metric(Metric(name, 1.0, 0, 0).key, 1.0, 0, 0)
        _validate_param(Param(name, "1").key, "1")


def test_many_numbers_go_in_blocks(store: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    sizes: list[int] = []
    send = MlflowClient.log_batch
    monkeypatch.setattr(
        MlflowClient,
        "log_batch",
        lambda self, run, metrics=(), params=(), tags=(), **more: (
            sizes.append(max(len(metrics), 10 * len(params))) or send(self, run, metrics, params, tags, **more)
        ),
    )
    place = Mlflow()
    knobs = {f"k{i}": "v" * 7000 for i in range(250)}
    place.begin(tracker.Entry("n", "d", "t", knobs, "", 0), "")
    place.log({name: (range(800), [0.5] * 800) for name in "abc"})
    assert max(sizes) <= 1000
    assert len(sizes) == 3 + 3
    (there,) = runs(store)
    assert len(there.data.params) == 250
    assert there.data.metrics == dict.fromkeys("abc", 0.5)


def test_an_address_is_shown_without_its_password() -> None:
    assert open_uri("https://me:word@host/mlflow") == "https://host/mlflow"


def test_a_database_is_there_whole_or_not_at_all(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{here}/new.db"
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_experiments", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_whole(uri)
    assert not list(here.iterdir())
    make_whole(uri)
    assert [path.name for path in here.iterdir()] == ["new.db"]
    before = (here / "new.db").stat().st_ino
    Mlflow(uri).open()
    assert (here / "new.db").stat().st_ino == before
    assert not runs(uri)


def test_a_store_that_cannot_be_used_is_said_in_a_line(here: Path) -> None:
    (here / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        Mlflow(f"sqlite:///{here}/file/x.db").open()
