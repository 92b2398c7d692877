"""Every CSV read back with pandas, exactly."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calclab.core import Column, Evidence, Labels, Outcome, Run, Status, Verdict
from calclab.sink.cells import texts
from calclab.sink.csv import CsvSink

OUTCOME = Outcome(Status.COMPLETED, 0, 0.0, {})


def opened(folder: Path, labels: Labels | None = None) -> CsvSink:
    sink = CsvSink()
    sink.open(Run("t", "s", "t of s", folder, 9, labels or {}, (), {}))
    return sink


def column(steps: list[int], *values: object, dtype: torch.dtype = torch.float64) -> Column:
    return Column(steps, torch.tensor(values, dtype=dtype))


def test_scalars_round_trip_exactly_over_blocks(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    loss = torch.rand(60, dtype=torch.float64).exp() * 10.0 ** torch.arange(-30, 30, dtype=torch.float64)
    for first in (0, 20, 40):
        steps = list(range(first, first + 20))
        sink.write({"loss": Column(steps, loss[first : first + 20])})
    sink.close(OUTCOME)
    frame = pd.read_csv(tmp_path / "scalars.csv", float_precision="round_trip")
    assert list(frame.columns) == ["step", "loss"]
    assert frame["step"].tolist() == list(range(60))
    assert torch.equal(torch.tensor(frame["loss"].to_numpy()), loss)


def test_names_logged_at_some_steps_only_leave_empty_cells(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write({"sharpness": column([0], 7.0), "loss": column([0, 1, 2], 3.0, 2.0, 1.0)})
    sink.write({"loss": column([3, 4], 0.5, 0.25)})
    sink.write({"loss": column([5, 6], 0.1, 0.2), "sharpness": column([6], 8.0)})
    sink.close(OUTCOME)
    frame = pd.read_csv(tmp_path / "scalars.csv", index_col="step")
    assert frame["loss"].tolist() == [3.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.2]
    assert frame["sharpness"].dropna().to_dict() == {0: 7.0, 6: 8.0}


def test_a_name_that_appears_late_gets_a_column_at_the_end(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write({"loss": column([0, 1], 2.0, 1.0)})
    sink.write({"loss": column([2], 0.5), "late, with comma": column([2], 9.0), "third": column([2], 4.0)})
    sink.write({"third": column([3], 5.0)})
    sink.close(OUTCOME)
    frame = pd.read_csv(tmp_path / "scalars.csv", index_col="step")
    assert list(frame.columns) == ["loss", "late, with comma", "third"]
    assert frame["late, with comma"].dropna().to_dict() == {2: 9.0}
    assert frame["third"].dropna().to_dict() == {2: 4.0, 3: 5.0}
    assert frame["loss"].dropna().to_dict() == {0: 2.0, 1: 1.0, 2: 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scalars.csv"]


def test_trajectories_and_matrices_keep_their_names(tmp_path: Path) -> None:
    names = ("hidden.0.weight[1,2]", 'quo"te')
    sink = opened(tmp_path, {"x": (names,), "hessian": (names, ("a", "b", "c"))})
    matrix = torch.tensor([[1.5, math.nan, math.inf], [-math.inf, 0.0, 1e-300]], dtype=torch.float64)
    sink.write({"x": column([0, 1], [1.0, 2.0], [3.0, 4.0]), "hessian": Column([5], matrix[None])})
    sink.close(OUTCOME)
    path = pd.read_csv(tmp_path / "x.csv")
    assert list(path.columns) == ["step", *names]
    assert path[list(names)].to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    read = pd.read_csv(tmp_path / "hessian.5.csv", index_col=0)
    assert (list(read.index), list(read.columns)) == (list(names), ["a", "b", "c"])
    assert torch.equal(torch.tensor(read.to_numpy()).nan_to_num(7), matrix.nan_to_num(7))


def test_values_without_names_are_numbered_and_files_made_only_when_needed(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    assert list(tmp_path.iterdir()) == []
    sink.evidence([])
    sink.write({})
    assert list(tmp_path.iterdir()) == []
    sink.write({"v": column([0], [1.0, 2.0, 3.0]), "empty": Column([0], torch.zeros(1, 0))})
    sink.close(OUTCOME)
    assert list(pd.read_csv(tmp_path / "v.csv").columns) == ["step", "0", "1", "2"]
    assert pd.read_csv(tmp_path / "empty.csv").shape[1] >= 1


def test_every_block_is_on_disk_in_whole_rows_before_close(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    for block in range(3):
        sink.write({"loss": column([2 * block, 2 * block + 1], 1.0, 2.0)})
        text = (tmp_path / "scalars.csv").read_text()
        assert text.endswith("\n")
        assert len(text.splitlines()) == 3 + 2 * block
    sink.close(OUTCOME)


def test_evidence_reads_back_with_the_verdict_as_its_word(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    rows = [
        Evidence(0, "gradient", "Arb, 106 bits", 1.0, 1.0, 1e-17, 1e-16, 1e-12, Verdict.CERTIFIED),
        Evidence(3, "hessian", "symmetry", math.nan, 2.0, math.inf, 0.0, 0.1, Verdict.REFUTED, 'say "no", twice'),
    ]
    sink.evidence(rows[:1])
    sink.evidence(rows[1:])
    sink.close(OUTCOME)
    frame = pd.read_csv(tmp_path / "verify.csv")
    assert frame["verdict"].tolist() == ["certified", "refuted"]
    assert frame["method"][0] == "Arb, 106 bits"
    assert frame["note"][1] == 'say "no", twice'
    assert frame["bound"][0] == 1e-16
    assert math.isnan(frame["value"][1])
    assert frame["gap"][1] == math.inf


@pytest.mark.parametrize("name", ["scalars", "verify", "..", ""])
def test_names_of_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        opened(tmp_path).write({name: column([0], [1.0])})


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    sink = opened(folder)
    sink.write({"../../layer 1/x": column([0], [1.0])})
    sink.close(OUTCOME)
    assert [path.parent for path in tmp_path.rglob("*.csv")] == [folder]


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_is_its_shortest_text(value: float) -> None:
    (text,) = texts(torch.tensor([value], dtype=torch.float32))
    assert torch.tensor(float(text), dtype=torch.float32).item() == value
    digits = next(p for p in itertools.count(1) if torch.tensor(float(f"{value:.{p}g}")).float().item() == value)
    mantissa = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
    assert len(mantissa) <= digits


@pytest.mark.parametrize(
    ("dtype", "values"), [(torch.int64, [2**62, -3]), (torch.bool, [True, False]), (torch.bfloat16, [1.5, -2.0])]
)
def test_other_dtypes(tmp_path: Path, dtype: torch.dtype, values: list[float]) -> None:
    sink = opened(tmp_path)
    sink.write({"a": column([0, 1], *values, dtype=dtype)})
    sink.close(OUTCOME)
    assert pd.read_csv(tmp_path / "scalars.csv")["a"].tolist() == values


def test_a_large_matrix_is_a_parquet_file(tmp_path: Path) -> None:
    matrix = torch.arange(600.0 * 500, dtype=torch.float64).reshape(600, 500) / 7
    sink = CsvSink()
    labels = {"big": (tuple(f"r{i}" for i in range(600)), tuple(f"c{i}" for i in range(500)))}
    sink.open(Run("t", "s", "t of s", tmp_path, 1, labels, (), {}))
    sink.write({"big": Column([0], matrix[None])})
    found = pd.read_parquet(tmp_path / "big.0.parquet")
    assert (found.to_numpy() == matrix.numpy()).all()
    assert (found.index[3], found.columns[4]) == ("r3", "c4")
    assert not list(tmp_path.glob("*.csv"))
