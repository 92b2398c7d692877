"""calclab.load: the frame of all runs, and a run's own frames, equal to what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import calclab
from calclab.core import Column, Outcome, Run, Status
from calclab.errors import UserError
from calclab.sink.csv import CsvSink

STEPS = [0, 1, 2]
AWKWARD = torch.tensor([0.1 + 0.2, 1 / 3, 5e-324], dtype=torch.float64)  # which a careless reader rounds


@pytest.fixture
def written(outputs: Path, make: Any) -> Path:
    """A run's folder as the CSV sink fills it."""
    folder = make()
    (folder / "scalars.csv").unlink()
    labels = {"x": (("a", "b, c"),), "hessian.0": (("a", "b"), ("a", "b"))}
    sink = CsvSink()
    sink.open(Run("descent", "f", "t", folder, 2, labels, (), {}))
    scalars = {"loss": Column(STEPS, AWKWARD), "norm": Column(STEPS, torch.tensor([1.0, math.nan, math.inf]).double())}
    sink.write(scalars | {"x": Column(STEPS, torch.stack([AWKWARD, -AWKWARD], 1))})
    sink.write(
        {"hessian.0": Column([0, 10], torch.arange(8.0).reshape(2, 2, 2)), "σ/one": Column([2], torch.ones(1, 1))}
    )
    sink.close(Outcome(Status.COMPLETED, 2, 0.1, {}))
    return folder


def test_frames_are_what_was_logged_to_the_last_bit(written: Path) -> None:
    run = calclab.load(written)
    assert run.scalars.index.tolist() == STEPS
    assert run.scalars.loss.tolist() == AWKWARD.tolist()
    assert math.isnan(run.scalars.norm[1])
    assert run.scalars.norm[2] == math.inf
    assert run.trajectory("x")["b, c"].tolist() == (-AWKWARD).tolist()
    assert run.trajectory("x").index.tolist() == STEPS


def test_names_that_hold_dots_and_slashes(written: Path) -> None:
    run = calclab.load(written)
    assert run.names["matrices"] == ["hessian.0"]
    assert run.trajectory("σ/one").index.tolist() == [2]
    assert run.steps("hessian.0") == [0, 10]
    assert run.matrix("hessian.0").loc["b", "a"] == 6  # the last step is 10, not "2" before "10"
    assert run.matrix("hessian.0", step=0).loc["a", "b"] == 1


@pytest.mark.parametrize("indexed", [True, False])
def test_a_matrix_in_parquet_loads_as_one_in_csv(written: Path, indexed: bool) -> None:
    run = calclab.load(written)
    matrix = run.matrix("hessian.0", 10)
    stored = matrix if indexed else matrix.rename_axis("").reset_index()
    stored.to_parquet(written / "large.7.parquet")
    pd.testing.assert_frame_equal(run.matrix("large"), matrix)
    assert run.names["matrices"] == ["hessian.0", "large"]


def test_a_tidy_table_loads_as_it_was_written(written: Path) -> None:
    run = calclab.load(written)
    assert run.names["tables"] == []
    with pytest.raises(UserError, match=r"no table 'table'\. It has none"):
        run.table()
    lines = [(0, "NA", "gradient", "3", AWKWARD[0].item(), None), (1, "a, b", "gradient", "7", -1 / 3, 0.5)]
    columns = ["row", "feature", "method", "target", "value", "error"]
    pd.DataFrame(lines, columns=columns).to_csv(written / "table.csv", index=False)
    assert run.names["tables"] == ["table"]
    assert "table" not in run.names["trajectories"]
    found = run.table()
    assert found.columns.tolist() == columns
    assert found.value.tolist() == [AWKWARD[0].item(), -1 / 3]
    assert found.feature.tolist() == ["NA", "a, b"]  # a feature may be called so
    assert found.target.tolist() == ["3", "7"]  # a class is a word, even where it is a digit
    assert found.error.isna().tolist() == [True, False]


def test_what_is_not_there_is_said(written: Path) -> None:
    run = calclab.load(written)
    with pytest.raises(UserError, match=r"no matrix 'hesian'.*hessian\.0"):
        run.matrix("hesian")
    with pytest.raises(UserError, match="step 3"):
        run.matrix("hessian.0", 3)
    with pytest.raises(UserError, match="no trajectory 'y'"):
        run.trajectory("y")
    with pytest.raises(UserError, match=r"no verify\.csv"):
        _ = run.verify
    (written / "scalars.csv").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        _ = run.scalars
    (written / "torn.1.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match="cannot be read"):
        run.matrix("torn")


def test_the_frame_has_facts_values_and_knobs(outputs: Path, make: Any) -> None:
    make(number=1, loss="nan", lr=0.5)
    make("hessian", 2, started="2026-11-03T10:00:00+02:00", config={"momentum": {"beta": 0.9}})
    frame = calclab.load(outputs).set_index("topic")
    assert frame.loc["descent", ["subject", "verdict", "kind", "lr"]].tolist() == [
        "parabola",
        "certified",
        "minimum",
        0.5,
    ]
    assert math.isnan(frame.loc["descent", "loss"])
    assert frame.loc["hessian", "started"] == pd.Timestamp("2026-11-03T08:00:00Z")
    assert frame.loc["hessian", "momentum.beta"] == 0.9
    assert (frame["function.at"] == "[1.5]").all()
    assert "x" not in frame  # a vector: it has a frame of its own


def test_a_knob_does_not_hide_what_came_out(outputs: Path, make: Any) -> None:
    make(config={"loss": "mse", "status": "any"})
    frame = calclab.load(outputs)
    assert frame.loc[0, ["steps", "knob.steps", "topic.steps"]].tolist() == [40, 100, 100]
    assert frame.loc[0, ["loss", "knob.loss", "status", "knob.status"]].tolist() == [0.25, "mse", "completed", "any"]


def test_chosen_options_are_knobs(outputs: Path, make: Any) -> None:
    make(choices={"function": "booth", "optimizer": "adam"})
    assert calclab.load(outputs).loc[0, ["function", "optimizer", "function.expr"]].tolist() == [
        "booth",
        "adam",
        "x**2",
    ]


def test_the_folder_in_the_frame_loads_the_run(outputs: Path, make: Any) -> None:
    folder = make(loss=0.125)
    run = calclab.load(calclab.load(outputs).folder[0])
    assert run.folder == folder
    assert run.values["loss"] == 0.125
    assert run.outcome["answer"]["values"]["x"] == [0.5]
    assert "completed" in repr(run)


def test_the_configuration_of_an_older_run_comes_from_its_yaml(outputs: Path, make: Any) -> None:
    folder = make(config={"lr": 1})
    (folder / "outcome.json").write_text('{"status": "completed"}')
    (folder / "config.yaml").write_text("lr: 0.75\ntopic:\n  name: descent\n")
    assert calclab.load(folder).config == {"lr": 0.75, "topic": {"name": "descent"}}
    assert calclab.load(outputs)["topic.name"].tolist() == ["descent"]
    (folder / "config.yaml").write_text("a: [1\n")
    assert calclab.load(folder).config == {}
