"""A run that goes on from a checkpoint leaves the same bytes as one that was never stopped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from calclab import checkpoint
from calclab.core import Column, Evidence, Outcome, Run, Scan, Status, Verdict
from calclab.sink.csv import CsvSink
from calclab.sink.recorded import recorded


def a_run(folder: Path) -> Run:
    return Run("t", "s", "t of s", folder, 10, {"x": (("a", "b"),)}, (), {})


def columns(steps: range, late: bool = False) -> dict[str, Column]:
    k = torch.tensor(list(steps), dtype=torch.float64)
    found = {"loss": Column(list(steps), 1 / (k + 3)), "x": Column(list(steps), torch.stack([k, -k / 7], 1))}
    return found | ({"late": Column(list(steps), k.sqrt())} if late else {})


def write(folder: Path, blocks: list[dict[str, Column]]) -> None:
    sink = CsvSink()
    sink.open(a_run(folder))
    for block in blocks:
        sink.write(block)
        k = block["loss"].steps[-1]
        sink.evidence([Evidence(k, "q", "m", 1 / 3, 1 / 3, 0.0, 1e-16, 1e-10, Verdict.CERTIFIED, "a, b")])
    sink.close(Outcome(Status.COMPLETED, 0, 0.0, {}))


def scan(step: int) -> Scan:
    rows = [Evidence(step, "q", "m", 1 / 3, float("nan"), 0.0, 1e-16, 1e-10, Verdict.SUSPECT, "note")]
    return Scan(Status.INTERRUPTED, step, {"x": torch.tensor([1 / 3]), "rule": {"v": torch.ones(2)}}, {}, rows)


@pytest.mark.parametrize("late", [False, True])
def test_files_are_cut_back_and_grown_again_to_the_same_bytes(tmp_path: Path, late: bool) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first, second = [columns(range(1)), columns(range(1, 4))], [columns(range(4, 8), late), columns(range(8, 11), late)]
    for folder in (whole, broken):
        folder.mkdir()
        write(folder, first)
    checkpoint.save(broken, scan(3), 1.5)
    write(broken, second[:1])
    (broken / "matrix.5.csv").write_text(",0\n0,1\n")
    assert checkpoint.load(broken, torch.device("cpu")) is not None
    assert not (broken / "matrix.5.csv").exists()
    for folder in (whole, broken):
        write(folder, second)
    for path in whole.glob("*.csv"):
        assert path.read_bytes() == (broken / path.name).read_bytes()
    assert len(pd.read_csv(broken / "scalars.csv")) == 11


def test_a_scan_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, scan(7), 2.5)
    found, seconds = checkpoint.load(tmp_path, torch.device("cpu")) or (None, 0.0)
    assert found is not None
    assert (found.step, found.status, seconds) == (7, Status.INTERRUPTED, 2.5)
    assert torch.equal(found.state["x"], torch.tensor([1 / 3]))
    assert found.evidence[0].verdict is Verdict.SUSPECT


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("short", ["checkpoint.pt", "scalars.csv"])
def test_what_a_power_cut_left_short_is_not_gone_on_from(tmp_path: Path, short: str) -> None:
    write(tmp_path, [columns(range(3))])
    checkpoint.save(tmp_path, scan(2), 1.0)
    cut(tmp_path / short)
    assert checkpoint.load(tmp_path, torch.device("cpu")) is None
    assert not list(tmp_path.iterdir())


def test_what_an_earlier_attempt_left_half_written_goes(tmp_path: Path) -> None:
    write(tmp_path, [columns(range(3))])
    checkpoint.save(tmp_path, scan(2), 1.0)
    kept = sorted(path.name for path in tmp_path.iterdir())
    for name in (".outcome.json.a1b2", ".scalars.csv.next", ".checkpoint.pt", "H.0.csv.part", "error.log"):
        (tmp_path / name).write_text("half")
    assert checkpoint.load(tmp_path, torch.device("cpu")) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_without_a_checkpoint_nothing_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [columns(range(3))])
    assert checkpoint.load(tmp_path, torch.device("cpu")) is None
    assert not list(tmp_path.iterdir())


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, [columns(range(3)), columns(range(3, 6), late=True)])
    found = recorded(tmp_path, ["loss", "x", "late", "nothing", "step"])
    assert set(found) == {"loss", "x", "late"}
    assert torch.equal(found["loss"].data, columns(range(6))["loss"].data)
    assert torch.equal(found["x"].data, columns(range(6))["x"].data)
    assert found["late"].steps == [3, 4, 5]
