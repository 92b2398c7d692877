"""The sinks without a file format: memory, pictures kept and drawn, the progress bar."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch

from calclab.core import Column, Curves, Heatmap, Outcome, Run, Status
from calclab.figure.kinds import POINTS
from calclab.sink import progress
from calclab.sink.figures import FiguresSink, Track
from calclab.sink.memory import MemorySink
from calclab.sink.progress import ProgressSink, current

OUTCOME = Outcome(Status.COMPLETED, 9, 0.0, {})


def a_run(folder: Path, *pictures: Curves | Heatmap) -> Run:
    return Run("t", "s", "t of s", folder, 9, {}, pictures, {})


def test_memory_joins_blocks() -> None:
    sink = MemorySink()
    sink.open(a_run(Path()))
    sink.write({"a": Column([0, 1], torch.tensor([1.0, 2.0]))})
    sink.write({"a": Column([2], torch.tensor([3.0])), "b": Column([2], torch.ones(1, 2))})
    sink.close(OUTCOME)
    assert sink.columns["a"].steps == [0, 1, 2]
    assert sink.columns["a"].data.tolist() == [1.0, 2.0, 3.0]
    assert sink.columns["b"].data.tolist() == [[1.0, 1.0]]
    assert sink.outcome is OUTCOME


@pytest.mark.parametrize("count", [1, 7, POINTS, POINTS + 1, 3 * POINTS + 11, 20_001])
@pytest.mark.parametrize("block", [1, 17, 1000])
def test_a_track_is_thin_even_and_keeps_both_ends(count: int, block: int) -> None:
    track = Track()
    track.points = POINTS
    for first in range(0, count, block):
        steps = list(range(first, min(first + block, count)))
        track.add(Column(steps, torch.tensor(steps, dtype=torch.float64)))
    column = track.column()
    assert column is not None
    assert column.data.tolist() == [float(k) for k in column.steps]
    assert (column.steps[0], column.steps[-1]) == (0, count - 1)
    assert len(column.steps) <= POINTS + 1
    assert len(column.steps) >= min(count, POINTS // 2)
    gaps = {j - i for i, j in zip(column.steps[:-2], column.steps[1:-1], strict=True)}
    assert len(gaps) <= 1


def test_a_track_of_one_point_keeps_the_last() -> None:
    track = Track()
    assert track.column() is None
    for k in range(5):
        track.add(Column([k], torch.full((1, 2, 2), float(k))))
    column = track.column()
    assert column is not None
    assert (column.steps, column.data.unique().tolist()) == ([4], [4.0])


class Gallery:
    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}

    def image(self, tag: str, png: bytes) -> None:
        self.images[tag] = png


def test_pictures_of_what_was_logged_are_drawn_and_others_are_not(tmp_path: Path) -> None:
    gallery = Gallery()
    sink = FiguresSink(gallery)
    sink.open(a_run(tmp_path, Curves("curves", ("loss", "absent")), Heatmap("matrix", "absent")))
    sink.write({"loss": Column([0, 1], torch.tensor([1.0, 0.5]))})
    sink.close(OUTCOME)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert list(gallery.images) == ["curves"]


def test_a_picture_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(panel: object) -> object:
        raise RuntimeError("no ink")

    monkeypatch.setattr("calclab.figure.kinds.figure", fail)
    sink = FiguresSink()
    sink.open(a_run(tmp_path, Curves("curves", ("loss",))))
    sink.write({"loss": Column([0], torch.tensor([1.0]))})
    with pytest.warns(UserWarning, match="curves.*no ink"):
        sink.close(OUTCOME)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(sink: ProgressSink) -> None:
    sink.open(a_run(Path()))
    for k in range(10):
        sink.write({"x": Column([k], torch.ones(1, 2)), "loss": Column([k], torch.tensor([0.125]))})
        time.sleep(0.001)
    sink.close(OUTCOME)


def test_the_bar_shows_steps_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    stream = Terminal()
    drive(ProgressSink(stream))
    for words in ("t of s", "10/10", "loss 0.125", "/s"):
        assert words in stream.getvalue()


def test_quick_runs_and_pipes_see_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Terminal()
    drive(ProgressSink(quick))
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    pipe = io.StringIO()
    drive(ProgressSink(pipe))
    assert quick.getvalue() == pipe.getvalue() == ""


def test_the_number_beside_the_bar() -> None:
    first = Column([0, 1], torch.tensor([1.0, 2.0]))
    assert current({"g": first, "loss": Column([1], torch.tensor([7.0]))}) == "loss 7"
    assert current({"x": Column([0], torch.ones(1, 2)), "g": first}) == "g 2"
    assert current({}) == ""


@pytest.mark.parametrize("format", ["svg", "pdf"])
def test_vector_pictures_are_written_and_shown_as_images(tmp_path: Path, format: str) -> None:
    gallery = Gallery()
    sink = FiguresSink(gallery, format=format)
    sink.open(a_run(tmp_path, Curves("curves", ("loss",))))
    sink.write({"loss": Column([0, 1], torch.tensor([1.0, 0.5]))})
    sink.close(OUTCOME)
    assert [path.name for path in tmp_path.iterdir()] == [f"curves.{format}"]
    assert gallery.images["curves"].startswith(b"\x89PNG")
