"""Rows of large tensors beside a checkpoint: written once, read back to the bit, and never believed when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from calclab import grown
from calclab.grown import NAMES, RowFile, whole

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grown, "LEAST", 1000)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_what_is_put_is_had_again(tmp_path: Path, dtype: torch.dtype) -> None:
    basis = (100 * torch.randn(9, 300)).to(dtype)
    basis[5:] = 0
    state = {"basis": basis, "inner": {"rows": basis.T.clone(), "small": torch.ones(3, 3)}, "step": torch.tensor(4)}
    state["inner"]["turned"] = torch.randn(40, 100).T
    kept = RowFile(tmp_path).put(state)
    torch.save(kept, tmp_path / "state")
    assert (tmp_path / "state").stat().st_size < basis.numel() * basis.element_size() * 4
    found = whole(torch.load(tmp_path / "state", weights_only=True), tmp_path, CPU)
    assert not isinstance(found, str)
    assert same({k: v for k, v in state.items() if k != "inner"}, {k: v for k, v in found.items() if k != "inner"})
    assert torch.equal(found["inner"]["turned"], state["inner"]["turned"])
    assert same(state["inner"]["rows"], found["inner"]["rows"])


def test_only_new_rows_are_written(tmp_path: Path) -> None:
    file, basis = RowFile(tmp_path), torch.zeros(16, 1000, dtype=torch.float64)
    for m in range(1, 17):
        basis[m - 1] = torch.randn(1000)
        kept = file.put({"basis": basis})
        assert torch.equal(whole(kept, tmp_path, CPU)["basis"], basis)  # type: ignore[index]
    assert (tmp_path / NAMES[0]).stat().st_size <= 17 * 8000  # each once, and one of zeros


def test_another_process_goes_on_behind_what_it_finds(tmp_path: Path) -> None:
    basis = torch.randn(8, 1000)
    first = RowFile(tmp_path).put({"basis": basis})
    with (tmp_path / NAMES[0]).open("ab") as file:
        file.write(b"half a row, when it was killed")
    later = RowFile(tmp_path)
    changed = basis.clone()
    changed[3] = 7
    second = later.put({"basis": changed})
    assert torch.equal(whole(first, tmp_path, CPU)["basis"], basis)  # type: ignore[index]
    assert torch.equal(whole(second, tmp_path, CPU)["basis"], changed)  # type: ignore[index]


def test_what_is_of_no_use_any_more_goes(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    for turn in range(12):
        basis = torch.randn(8, 1000, generator=torch.Generator().manual_seed(turn))
        kept = file.put({"basis": basis})
        assert torch.equal(whole(kept, tmp_path, CPU)["basis"], basis)  # type: ignore[index]
        file.settle()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 8 * 4000


@pytest.mark.parametrize("at", [0, 3999, 4000, 20_001, 31_999])
def test_a_flipped_bit_is_noticed(tmp_path: Path, at: int) -> None:
    kept = RowFile(tmp_path).put({"basis": torch.randn(8, 1000)})
    path = tmp_path / NAMES[0]
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    assert whole(kept, tmp_path, CPU) == NAMES[0]
    path.write_bytes(raw[:20_000])
    assert whole(kept, tmp_path, CPU) == NAMES[0]
    path.unlink()
    assert whole(kept, tmp_path, CPU) == NAMES[0]
