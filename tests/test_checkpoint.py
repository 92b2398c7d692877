"""A run that goes on from a checkpoint leaves the same bytes as one that was never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calclab import checkpoint
from calclab.core import Column, Evidence, Outcome, Run, Scan, Status, Verdict
from calclab.sink.csv import LARGE, CsvSink
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


SIZES = {
    torch.float16: np.uint16, torch.bfloat16: np.uint16, torch.float32: np.uint32, torch.float64: np.uint64,
    torch.int64: np.uint64, torch.int32: np.uint32, torch.bool: np.uint8,
}  # fmt: skip


def bits(data: torch.Tensor) -> bytes:
    return data.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", SIZES, ids=str)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_read_back_has_the_bits_that_were_logged(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    chance = np.random.default_rng(seed)
    whole = chance.integers(0, 2 if dtype is torch.bool else np.iinfo(SIZES[dtype]).max, (4, 3, 2), SIZES[dtype])
    data = torch.from_numpy(whole.view(np.uint8)).view(dtype)  # any bits whatever: denormal, infinite, -0.0
    if dtype.is_floating_point:
        data = torch.where(data.isnan(), torch.zeros((), dtype=dtype), data)
    logged = {"s": data[:, 0, 0], "x": data[:, 0], "H": data}
    sink = CsvSink()
    sink.open(a_run(folder))
    sink.write({name: Column(range(4), values) for name, values in logged.items()})
    found = recorded(folder, logged, {name: values[-1] for name, values in logged.items()})
    for name, values in logged.items():
        assert found[name].data.dtype is dtype
        assert bits(found[name].data) == bits(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_matrix_that_went_to_parquet_is_read_back_too(tmp_path: Path, dtype: torch.dtype) -> None:
    matrix = torch.randn(2, LARGE + 1, 1, dtype=dtype)
    sink = CsvSink()
    sink.open(a_run(tmp_path))
    sink.write({"H": Column([0, 7], matrix)})
    found = recorded(tmp_path, ["H"], {"H": matrix[-1]})
    assert list(found["H"].steps) == [0, 7]
    assert torch.equal(found["H"].data, matrix)
    assert found["H"].data.dtype is dtype


def written(folder: Path, late: bool) -> list[Path]:
    """A run of two blocks with a checkpoint between them; the files that it is about."""
    write(folder, [columns(range(3))])
    (folder / "H.2.csv").write_text(",0\n0,1.5\n")
    checkpoint.save(folder, scan(2), 1.0)
    write(folder, [columns(range(3, 6), late)])
    return sorted(path for path in folder.iterdir())


@pytest.mark.parametrize("late", [False, True])
@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), which=st.integers(0, 4))
def test_a_flipped_bit_changes_nothing_or_is_said(
    tmp_path_factory: pytest.TempPathFactory, late: bool, place: float, bit: int, which: int
) -> None:
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    written(whole, late)
    path = written(broken, late)[which]
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    said: list[str] = []
    there = checkpoint.load(whole, torch.device("cpu"))
    found = checkpoint.load(broken, torch.device("cpu"), say=said.append)
    assert there is not None
    if found is None:
        assert said == [f"{path.name} is damaged: the run is begun anew"]
        assert list(broken.iterdir()) == []
        return
    assert said == []
    assert torch.equal(found[0].state["x"], there[0].state["x"])
    assert found[0].evidence[0].value == there[0].evidence[0].value
    for kept in whole.glob("*.csv"):
        assert kept.read_bytes() == (broken / kept.name).read_bytes()


def test_the_users_own_files_stay(tmp_path: Path) -> None:
    write(tmp_path, [columns(range(3))])
    checkpoint.save(tmp_path, scan(2), 1.0, own=lambda name: "mine" not in name)
    for name in ("mine.csv", ".mine.next", "mine.csv.part"):
        (tmp_path / name).write_text("step,a\n")
    (tmp_path / ".folder").mkdir()
    (tmp_path / "folder.part").mkdir()
    kept = sorted(path.name for path in tmp_path.iterdir())
    for _ in range(2):  # going on, then beginning anew
        assert checkpoint.load(tmp_path, torch.device("cpu"), lambda name: "mine" not in name)
        assert sorted(path.name for path in tmp_path.iterdir()) == kept
    cut(tmp_path / "checkpoint.pt")
    assert checkpoint.load(tmp_path, torch.device("cpu"), lambda name: "mine" not in name) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".folder",
        ".mine.next",
        "folder.part",
        "mine.csv",
        "mine.csv.part",
    ]


def test_names_with_commas_do_not_move_the_columns(tmp_path: Path) -> None:
    k = torch.arange(4.0)

    def log(steps: list[int], names: list[str]) -> None:
        write(tmp_path, [{name: Column(steps, k[steps]) for name in ["loss", *names]}])

    log([0, 1], ["a,b", 'c"d'])
    whole = (tmp_path / "scalars.csv").read_bytes()
    checkpoint.save(tmp_path, scan(1), 1.0)
    log([2, 3], ["a,b", 'c"d', "late"])
    assert checkpoint.load(tmp_path, torch.device("cpu")) is not None
    assert (tmp_path / "scalars.csv").read_bytes() == whole


def test_a_checkpoint_holds_no_more_than_it_must(tmp_path: Path) -> None:
    column = torch.randn(1000, 100)  # of which the last value is a row
    checkpoint.save(tmp_path, Scan(Status.INTERRUPTED, 3, {}, {"x": column[-1]}, []), 1.0)
    assert (tmp_path / "checkpoint.pt").stat().st_size < 5000
