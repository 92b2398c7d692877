"""The knob ``sinks``: what a run is logged to besides its CSVs, which is no part of the question."""

from __future__ import annotations

from pathlib import Path

import pytest

from calclab.app.record import SINKS
from calclab.schema import catalogue

WALK = "topic=descent function=rosenbrock lr=0.001 steps=20 figures=false"


def folder(tmp_path: Path, outputs: str = "outputs") -> Path:
    (found,) = (path for path in (tmp_path / outputs / "descent").iterdir() if path.is_dir())
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("events.out")}


def test_a_run_that_does_not_say_is_logged_as_conf_has_it() -> None:
    assert tuple(catalogue.values("", "config")["sinks"]) == SINKS


def test_without_tensorboard_a_run_has_no_event_file_and_the_same_bytes_and_place(lab, tmp_path: Path) -> None:
    assert lab(f"{WALK} outputs=both").status == 0
    done = lab(f"{WALK} outputs=alone 'sinks=[csv]'")
    assert done.status == 0
    assert "tensorboard --logdir" not in done.out
    both, alone = folder(tmp_path, "both"), folder(tmp_path, "alone")
    assert both.name == alone.name
    assert [len(list(place.glob("events.out.*"))) for place in (both, alone)] == [1, 0]
    assert names(both) == names(alone)
    for path in both.glob("*.csv"):
        assert path.read_bytes() == (alone / path.name).read_bytes()


def test_csvs_are_written_whatever_is_named(lab, tmp_path: Path) -> None:
    assert lab(f"{WALK} 'sinks=[]'").status == 0
    assert (folder(tmp_path) / "scalars.csv").is_file()
    again = lab(f"{WALK} 'sinks=[tensorboard]'")
    assert "finished before" in again.out


@pytest.mark.parametrize("given", ["tensorbord", "[csv,tensorbord]", "[tensorboard,tensorbord]"])
def test_a_sink_that_there_is_not_is_answered_by_those_that_there_are(lab, given: str) -> None:
    done = lab(f"{WALK} 'sinks={given}'")
    assert done.status == 2
    assert "csv, tensorboard" in done.err
    assert f"sinks='[{given.strip('[]').replace('tensorbord', 'tensorboard')}]'" in done.err
