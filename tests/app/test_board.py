"""A sweep in TensorBoard: its own event file, and a board of its runs alone, called by what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calclab.app import board
from calclab.sink.eventfile import event_files

SWEEP = "-m topic=descent function=booth steps=9 figures=false lr=logspace(0.01,10,4) optimizer=gd,adam"
WORDS = "topic=descent function=booth steps=9"


def shown(place: Path) -> dict[str, Any]:
    """The last value of every tag in the lab's event files of a folder."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = [event for path in event_files(place) for event in EventFileLoader(str(path)).Load()]
    return {value.tag: value.tensor for event in events for value in event.summary.value}


@pytest.fixture
def sweep(lab, tmp_path: Path) -> Path:
    assert lab(SWEEP).status == 0
    (place,) = (tmp_path / "outputs" / "sweeps").iterdir()
    return place


def test_a_sweep_has_a_run_of_its_own(sweep: Path) -> None:
    found = shown(sweep)
    assert set(found) >= {"overview", "pictures/1 sweep", "sweep/objective", "sweep/best_so_far"}
    text = found["overview"].string_val[0].decode()
    assert "| job | lr | optimizer | loss |" in text
    assert "booth" not in text.partition("How to read")[0].partition("\n")[2]  # a constant
    rows = [json.loads((folder / "outcome.json").read_text()) for folder in (sweep.parents[1] / "descent").iterdir()]
    done = [row["answer"]["values"]["loss"] for row in rows if row["status"] in ("completed", "converged")]
    assert 1 < len(done) < len(rows)  # some ran away, and are in no curve
    assert found["sweep/best_so_far"].float_val[0] == pytest.approx(min(done), rel=1e-6)


def test_the_same_sweep_again_leaves_one_event_file(lab, sweep: Path) -> None:
    assert lab(SWEEP).status == 0
    assert len(event_files(sweep)) == 1


def test_runs_on_a_board_are_called_by_what_differs(sweep: Path, tmp_path: Path) -> None:
    place = tmp_path / "board"
    place.mkdir()
    runs = board.link([sweep], place)
    board.describe(runs, place / "sweep")
    names = {path.name for path in place.iterdir()}
    pieces = {f"{rule} lr={lr}" for rule in ("gd", "adam") for lr in ("0.01", "0.1", "1", "10")}
    assert {name.partition(" · ")[0] for name in names} == pieces | {"sweep"}
    assert all(run.digest[:4] in " ".join(names) for run in runs)
    assert {path.resolve() for path in place.rglob("*.calclab")} >= {event_files(run.folder)[0] for run in runs}
    assert board.link([sweep], place)  # again, while TensorBoard looks: nothing is in the way


def test_hparams_of_a_board_show_what_differs_and_the_objective_first(sweep: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    runs = board.runs_of(sweep)
    board.describe(runs, tmp_path / "sweep")
    (path,) = event_files(tmp_path / "sweep")
    (content,) = [v.metadata.plugin_data.content for e in EventFileLoader(str(path)).Load() for v in e.summary.value]
    made = HParamsPluginData.FromString(content).experiment
    assert [info.name for info in made.hparam_infos] == ["optimizer", "lr"]
    assert set(made.hparam_infos[0].domain_discrete) == {"gd", "adam"}
    assert made.hparam_infos[1].domain_interval.max_value == 10
    assert next(info.name.tag for info in made.metric_infos) == "answer/objective"
    assert [info.display_name for info in made.metric_infos] == ["loss", "diverged", "steps", "seconds"]


def test_runs_of_different_topics_are_told_apart(lab, tmp_path: Path) -> None:
    for line in (f"{WORDS} figures=false", "topic=derivative figures=false", f"{WORDS} lr=0.01 figures=false"):
        assert lab(line).status == 0
    names = board.named(board.runs_of(tmp_path / "outputs"))
    assert len(set(names)) == 3
    assert sorted(name.split()[0] for name in names) == ["derivative", "descent", "descent"]


def test_a_board_of_nothing_says_what_to_name(lab, tmp_path: Path) -> None:
    result = lab("board nowhere")
    assert result.status == 2
    assert "outputs/sweeps/<sweep>" in result.err
