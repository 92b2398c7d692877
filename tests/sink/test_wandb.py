"""Weights & Biases for real, offline: what its file holds is what the folder holds."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import calclab
from calclab.app import main
from calclab.archive.run import Run as Kept
from calclab.archive.trackers import kept
from calclab.core import Column, Run
from calclab.sink import tracker
from calclab.sink.csv import CsvSink
from calclab.sink.tracker import TrackerSink, logged
from calclab.sink.wandb import Wandb, known_user, mode

pytest.importorskip("wandb", reason="needs an extra: pip install 'calclab[wandb]'")
WALK = ("topic=descent", "function=rosenbrock", "steps=20")
TO = "sinks=[csv,wandb]"
BLOCK, HEADER = 32768, 7  # bytes of LevelDB's log format, in which W&B writes, and what stands before a piece


def records(path: Path) -> Iterator[Any]:
    """The records of a file of W&B's, in order."""
    from wandb.proto import wandb_internal_pb2

    raw = path.read_bytes()
    assert raw[:4] == b":W&B"
    place, whole = HEADER, b""
    while place + HEADER <= len(raw):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", raw[place : place + HEADER])
        if kind == 0:
            break
        whole += raw[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


class Held:
    """What the one run in ``wandb/`` holds."""

    def __init__(self, folder: Path) -> None:
        import wandb

        wandb.teardown()  # its own process writes a little later
        (self.folder,) = folder.glob("wandb/offline-run-*")
        (path,) = self.folder.glob("*.wandb")
        self.scalars: dict[str, dict[int, float]] = {}
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.files: list[str] = []
        self.others: dict[str, Any] = {}
        self.code, self.run = None, None
        for record in records(path):
            self.take(record)

    def take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = items(record.history.item)
            step = row.pop("_step", record.history.step.num)
            for name, value in row.items():
                if isinstance(value, dict):
                    self.others[name] = value
                elif not name.startswith("_"):
                    assert step not in self.scalars.setdefault(name, {}), f"{name} has step {step} twice"
                    self.scalars[name][step] = float(value)
        elif kind == "summary":
            self.summary |= items(record.summary.update)
        elif kind == "run":
            self.run = record.run
            self.config |= items(record.run.config.update)
        elif kind == "files":
            self.files += [entry.path for entry in record.files.files]
        elif kind == "exit":
            self.code = record.exit.exit_code


def items(found: Any) -> dict[str, Any]:
    """Names and values; what is within a value has a name of several parts."""
    whole: dict[str, Any] = {}
    for entry in found:
        first, *rest = entry.nested_key or [entry.key]
        value = json.loads(entry.value_json)
        if rest:
            whole.setdefault(first, {})["/".join(rest)] = value
        else:
            whole[first] = value
    return whole


def as_kept(there: float, value: float) -> bool:
    """Whether W&B has the number: its own process reads decimals to the last bit but one."""
    return math.isclose(there, value, rel_tol=2 * sys.float_info.epsilon) or (math.isnan(there) and math.isnan(value))


def check_scalars(held: Held, folder: Path) -> None:
    here = logged(folder)
    assert here.keys() == held.scalars.keys()
    for name, (steps, values) in here.items():
        assert [*held.scalars[name]] == list(steps)
        for there, value in zip(held.scalars[name].values(), values, strict=True):
            assert as_kept(there, value), (name, there, value)


def test_a_run_is_told_whole_while_it_goes_on(here: Path) -> None:
    run = calclab.run(*WALK, "lr=0.001", TO)
    held = Held(here)
    check_scalars(held, run.folder)
    assert held.run.run_id == run.digest
    assert held.run.display_name == run.folder.name
    assert held.run.job_type == "descent"
    assert {name: held.config[name] for name in run.knobs} == json.loads(json.dumps(run.knobs))
    assert held.code == 0
    assert held.summary["headline"] == run.outcome["answer"]["headline"]
    assert held.summary["status"] == run.status
    for name, value in run.values.items():
        there = held.summary[name]
        assert as_kept(float(there), value) if isinstance(value, float) else there == value
    pictures = {f"pictures/{path.stem}" for path in run.folder.glob("*.png")}
    assert pictures
    assert held.others.keys() == pictures | {"verify"}
    table = json.loads((held.folder / "files" / held.others["verify"]["path"]).read_text())
    assert table["columns"] == list(run.verify.columns)
    assert len(table["data"]) == len(run.verify)
    own = {path.name for path in run.folder.iterdir()} - {"trackers.json"}
    assert own <= {path.name for path in (held.folder / "files").iterdir()}
    assert own <= set(held.files)


def test_an_export_brings_what_the_sink_has_told(here: Path) -> None:
    run = calclab.run(*WALK, "lr=0.002", "dtype=float32", TO)
    assert main(["export", "wandb", str(run.folder), "--to", str(here / "other")]) == 0
    live, later = Held(here), Held(here / "other")
    for name in ("scalars", "config", "code"):
        assert getattr(live, name) == getattr(later, name)
    plain = [{k: v for k, v in held.summary.items() if not isinstance(v, dict | list)} for held in (live, later)]
    assert {k: v for k, v in plain[0].items() if k[0] != "_"} == {k: v for k, v in plain[1].items() if k[0] != "_"}
    assert live.others.keys() == later.others.keys()
    assert set(live.files) == set(later.files)


def test_what_is_there_is_told_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = calclab.run(*WALK, TO, "figures=false")
    assert run.status == "diverged"
    calclab.run(*WALK, TO, "figures=false")
    assert main(["export", "wandb", str(run.folder)]) == 0
    assert "already" in capsys.readouterr().out
    assert Held(here).code == 1


def test_a_run_that_was_killed_is_written_anew_without_a_step_twice(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "EVERY", 0.0)
    folder = here / "run"
    folder.mkdir()
    odd = [0.1, float("nan"), float("inf"), -float("inf"), 1 / 3, -0.0, 5e-324, 1e308]
    described = Run("descent", "f", "f", folder, 30, {}, (), {})
    record = {"topic": "descent", "digest": "abc", "choices": {}, "config": {"lr": 0.1}}

    def columns(steps: range) -> dict[str, Column]:
        found = {"loss": Column(list(steps), torch.tensor([odd[k % 8] for k in steps], dtype=torch.float64))}
        late = [k for k in steps if k > 3]
        return found | ({"late": Column(late, torch.tensor(late) / 7)} if late else {})

    def sink() -> tuple[TrackerSink, Wandb]:
        place = Wandb()
        made = TrackerSink(place, Kept(folder, record | {"status": "running"}), None)
        made.open(described)
        return made, place

    csv, (first, place) = CsvSink(), sink()
    csv.open(described)
    for steps in (range(3), range(3, 12)):
        csv.write(columns(steps))
        first.write(columns(steps))
    first.write(columns(range(12, 20)))  # told, and never checkpointed
    place.made.finish(exit_code=255)  # as W&B's own process does when ours is gone
    assert kept(folder)["wandb"].run == "abc"
    again, _ = sink()
    for steps in (range(12, 16), range(16, 31)):
        csv.write(columns(steps))
        again.write(columns(steps))
    ended = record | {"status": "completed", "steps": 30}
    (folder / "outcome.json").write_text(json.dumps(ended))
    again.end(Kept(folder, ended))
    held = Held(here)
    assert held.run.run_id == "abc"
    assert [*held.scalars["loss"]] == list(range(31))
    check_scalars(held, folder)


def test_the_jobs_of_a_sweep_are_a_group(here: Path) -> None:
    assert main(["-m", *WALK, "lr=0.001,0.002", TO, "figures=false", "hydra/launcher=batch"]) == 0
    (sweep,) = (here / "outputs" / "sweeps").iterdir()
    import wandb

    wandb.teardown()
    found = [next(r.run for r in records(path) if r.HasField("run")) for path in here.glob("wandb/offline*/*.wandb")]
    assert [run.run_group for run in found] == [sweep.name] * 2


def test_nothing_leaves_the_machine_of_a_user_who_has_not_logged_in(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(here / "netrc"))
    (here / "netrc").write_text("")
    assert not known_user()
    assert mode() == "offline"
    (here / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    assert mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode() == "disabled"


def test_a_server_that_is_down_costs_a_warning_and_no_number(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = calclab.run(*WALK, "lr=0.001", "outputs=plain", "figures=false")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    words = [*WALK, "lr=0.001", "figures=false", TO]
    code = (
        f"from calclab.sink import wandb; wandb.INIT = 1\nfrom calclab.app import main\nraise SystemExit(main({words}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # wandb remembers a server
    assert done.returncode == 0
    assert done.stderr.count("wandb takes no more of this run") == 1
    folder = here / "outputs" / "descent" / plain.folder.name
    for path in plain.folder.glob("*.csv"):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert calclab.load(folder).status == "completed"
