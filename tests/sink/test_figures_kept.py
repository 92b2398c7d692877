"""What the figures sink keeps for a picture of many variables, and that it survives a record that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calclab.core import Column, Contours, Curves, Function, Guide, Outcome, PrincipalPlane, Run, Status
from calclab.figure.kinds import KINDS, PLANE_POINTS, POINTS
from calclab.sink.figures import FiguresSink

OUTCOME = Outcome(Status.COMPLETED, 9, 0.0, {})
BOWL = Function("f", lambda x: (x * x).sum(), torch.ones(4), ("a", "b", "c", "d"))


def a_run(folder: Path, *pictures: Curves | PrincipalPlane | Contours) -> Run:
    return Run("t", "s", "t of s", folder, 9, {}, pictures, {})


def test_a_path_of_many_variables_is_kept_thin(tmp_path: Path) -> None:
    sink = FiguresSink()
    sink.open(a_run(tmp_path, PrincipalPlane("plane", "x", BOWL), Curves("loss", ("loss",))))
    for first in range(0, 5000, 500):
        steps = list(range(first, first + 500))
        sink.write({"x": Column(steps, torch.rand(500, 4)), "loss": Column(steps, torch.rand(500))})
    kept = {name: track.column() for name, track in sink._tracks.items()}
    assert kept["x"] is not None
    assert kept["loss"] is not None
    assert PLANE_POINTS // 2 <= len(kept["x"].steps) <= PLANE_POINTS + 1
    assert len(kept["loss"].steps) > POINTS // 2
    sink.close(OUTCOME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "plane.png"]


def test_what_a_guide_is_made_of_is_kept(tmp_path: Path) -> None:
    sink = FiguresSink()
    sink.open(a_run(tmp_path, Curves("loss", ("loss",), guides=(Guide("theory", "loss", "rate"),))))
    assert {"loss", "rate"} <= set(sink._tracks)


def test_a_record_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no plane")

    monkeypatch.setitem(KINDS, PrincipalPlane, KINDS[PrincipalPlane]._replace(record=fail))
    sink = FiguresSink()
    sink.open(a_run(tmp_path, PrincipalPlane("plane", "x", BOWL), Curves("loss", ("loss",))))
    sink.write({"x": Column([0], torch.ones(1, 4)), "loss": Column([0], torch.ones(1))})
    with pytest.warns(UserWarning, match="plane.*no plane"):
        sink.close(OUTCOME)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
