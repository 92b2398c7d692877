"""watch=layers on the command line: in TensorBoard alone, and no reason to compute an earlier run again."""

from __future__ import annotations

from pathlib import Path

from calclab.app.place import LATER, locate
from calclab.core import HISTOGRAM

WORDS = "topic=descent network=mlp network.width=5 data=iris steps=60 figures=false watch=layers"


def test_a_function_has_no_layers(lab) -> None:
    result = lab("topic=descent function=booth watch=layers")
    assert result.status == 2
    assert "network" in result.err


def test_histograms_are_for_the_board_alone(lab, tmp_path: Path) -> None:
    assert lab(f"{WORDS} lr=0.1").status == 0
    (folder,) = (tmp_path / "outputs" / "descent").iterdir()
    assert not [path for path in folder.rglob("*") if "histogram" in path.name]
    assert HISTOGRAM not in (folder / "outcome.json").read_text()
    (events,) = folder.glob("events*")
    assert b"gradients/hidden.0" in events.read_bytes()


def test_watched_jobs_of_a_batch_go_alone_and_say_so(lab) -> None:
    result = lab(f"-m {WORDS} lr=0.1,0.2 hydra/launcher=batch")
    assert result.status == 0
    assert "layers are watched" in result.out


def test_a_knob_that_came_later_leaves_earlier_runs_where_they_are() -> None:
    config = {"outputs": "outputs", "lr": 0.1, "topic": {"name": "descent", "lr": 0.1}}
    later = {**config, **dict.fromkeys(LATER), "topic": {**config["topic"], **dict.fromkeys(LATER)}}
    asked = {**config, LATER[0]: "layers"}
    digests = [locate(each, "descent", ()).digest for each in (config, later, asked)]
    assert digests[0] == digests[1] != digests[2]
