"""What trackers are told is what the folder holds, whatever befalls them: with a tracker that keeps it in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from calclab.archive.run import Run as Kept
from calclab.archive.trackers import KEPT, Told, keep, kept
from calclab.core import HISTOGRAM, Column, Columns, Run
from calclab.sink import tracker as trackers
from calclab.sink.csv import CsvSink
from calclab.sink.tracker import Courses, Entry, TrackerSink, courses, logged, numbers, reason


class Memory:
    """A tracker that knows what it was told, and can be made to fail."""

    name = "mlflow"

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: dict[str, dict[int, float]] = {}
        self.ended: list[str] = []
        self.fails = False

    def open(self) -> None: ...

    def there(self, entry: Entry, run: Kept) -> str:
        return ""

    def begin(self, entry: Entry, known: str) -> str:
        self.begun.append(known)
        return known or "first"

    def log(self, courses: Courses) -> None:
        if self.fails:
            raise ConnectionError("http://ann:secret@server/ does not answer\nand so on")
        for name, (steps, values) in courses.items():
            self.told.setdefault(name, {}).update(zip(steps, values, strict=True))

    def end(self, run: Kept, last: Mapping[str, float]) -> str:
        self.ended.append(run.status)
        return "memory"

    def end_sweep(self, folder: Path, sentence: str, stopped: bool) -> None: ...


def described(folder: Path) -> Run:
    return Run("descent", "f", "descent of f", folder, 9, {}, (), {})


def recorded(folder: Path, status: str = "completed") -> Kept:
    return Kept(folder, {"status": status, "topic": "descent", "digest": "abc"})


ODD = {
    "loss": Column([0, 1, 2], torch.tensor([0.1, math.nan, math.inf], dtype=torch.float32)),
    "late": Column([2], torch.tensor([-math.inf], dtype=torch.float64)),
    "third": Column([0, 1, 2], torch.tensor([1 / 3, 1e-300, -0.0], dtype=torch.float64)),
    "held": Column([0, 1, 2], torch.tensor([True, False, True])),
    "count": Column([0, 1, 2], torch.tensor([1, 2, 3])),
    "x": Column([0, 1, 2], torch.zeros(3, 2)),
    f"{HISTOGRAM}weights": Column([0], torch.zeros(1, 4)),
}


def same(left: Courses, right: Courses) -> bool:
    return left.keys() == right.keys() and all(
        list(left[name][0]) == list(right[name][0])
        and list(map(repr, left[name][1])) == list(map(repr, right[name][1]))
        for name in left
    )


def test_numbers_told_are_those_of_the_csv_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    sink = CsvSink()
    sink.open(described(tmp_path))
    sink.write(ODD)
    told = courses(ODD)
    assert same(told, logged(tmp_path))
    assert told["loss"][1][0] == 0.1  # the decimal of the float32, not that float32 widened
    assert told["late"] == ([2], [-math.inf])
    assert told["held"][1] == [1.0, 0.0, 1.0]
    assert "x" not in told


def test_cells_that_are_truths_are_numbers() -> None:
    assert numbers(["True", "False", "2.5"]) == [1.0, 0.0, 2.5]


def block(*steps: int) -> Columns:
    return {"loss": Column(list(steps), torch.tensor([float(k) for k in steps], dtype=torch.float64))}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "EVERY", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_run_that_goes_on_goes_on_in_its_tracker_and_is_told_whole(tmp_path: Path) -> None:
    memory, csv = Memory(), CsvSink()
    first = TrackerSink(memory, recorded(tmp_path, "running"), None)
    for sink in (csv, first):
        sink.open(described(tmp_path))
        sink.write(block(0, 1, 2))
    assert kept(tmp_path) == {"mlflow": Told("first", False)}
    again = TrackerSink(other := Memory(), recorded(tmp_path, "running"), None)  # the first was killed
    again.open(described(tmp_path))
    again.write(block(3, 4))
    again.end(recorded(tmp_path))
    assert other.begun == ["first"]
    assert other.told["loss"] == {k: float(k) for k in range(5)}  # what is there already, a tracker knows
    assert kept(tmp_path) == {"mlflow": Told("first", True)}


@pytest.mark.usefixtures("at_once")
def test_a_run_that_was_stopped_has_not_ended_there(tmp_path: Path) -> None:
    sink = TrackerSink(memory := Memory(), recorded(tmp_path, "running"), None)
    sink.open(described(tmp_path))
    sink.write(block(0))
    sink.end(recorded(tmp_path, "interrupted"))
    assert memory.ended == ["interrupted"]
    assert not kept(tmp_path)["mlflow"].ended


@pytest.mark.usefixtures("at_once")
def test_a_tracker_that_fails_is_one_warning_that_tells_how_to_put_the_run_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = TrackerSink(memory := Memory(), recorded(tmp_path, "running"), None)
    sink.open(described(tmp_path))
    sink.write(block(0))
    memory.fails = True
    for k in range(1, 4):
        sink.write(block(k))
    memory.fails = False
    sink.end(recorded(tmp_path))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"calclab export mlflow {tmp_path}" in said
    assert "does not answer" in said
    assert "secret" not in said
    assert not memory.ended
    assert not kept(tmp_path)["mlflow"].ended


def test_before_the_first_block_nothing_is_told(tmp_path: Path) -> None:
    sink = TrackerSink(memory := Memory(), recorded(tmp_path, "running"), None)
    sink.open(described(tmp_path))
    assert not memory.begun
    assert not (tmp_path / KEPT).exists()


def test_a_password_in_an_address_is_not_repeated() -> None:
    assert reason(ValueError("cannot reach https://me:pass@host:1/x")) == "cannot reach https://host:1/x"
    assert reason(ValueError()) == "ValueError"


def test_what_is_kept_survives_damage_and_other_trackers(tmp_path: Path) -> None:
    keep(tmp_path, "mlflow", Told("a"))
    keep(tmp_path, "wandb", Told("b", True))
    assert kept(tmp_path) == {"mlflow": Told("a"), "wandb": Told("b", True)}
    for damage in ("[]", "{", '{"mlflow": 3}', '{"mlflow": {"run": 1}}', ""):
        (tmp_path / KEPT).write_text(damage)
        assert kept(tmp_path) == {}


def test_a_run_anew_is_another_run_there(tmp_path: Path) -> None:
    record = {"status": "completed", "digest": "abc", "provenance": {"started": "2026-01-01T00:00:00+00:00"}}
    plain, anew = (trackers.entry(Kept(tmp_path, record | {"config": {"rerun": r}}), None) for r in (False, True))
    assert plain.digest == "abc"
    assert anew.digest.startswith("abc-")
    assert anew.begun == plain.begun == 1767225600000
