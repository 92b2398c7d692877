"""Rows of the user's own from the command line: a function named by data._target_, files, and a place for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import calclab

ROWS = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def rows(count=20, kind="pair"):
    X = torch.randn(count, 4)
    y = (X[:, 0] > 0).long()
    if kind == "loader":
        return DataLoader(TensorDataset(X, y), batch_size=7, shuffle=True)
    return {"pair": (X, y), "nothing": None, "texts": ["a", "b"]}[kind]
"""
ASK = "topic=partial network=linear figures=false"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_ones_own_gives_the_rows(lab, tmp_path: Path) -> None:
    (tmp_path / "rows_of_mine.py").write_text(ROWS)
    line = (
        f"{ASK} data._target_=rows_of_mine.rows data.count=31 data.kind=loader data.held_out=0.2 data.standardize=true"
    )
    first = lab(line)
    assert first.status == 0, first.err
    (folder,) = Path("outputs/partial").iterdir()
    notes = " ".join(calclab.load(folder).outcome["notes"])
    assert "6 of 31 rows held out" in notes
    assert "the loader shuffles" in notes
    assert "standardised" in notes
    assert "finished before" in lab(line).out
    (tmp_path / "rows_of_mine.py").write_text(ROWS.replace("> 0)", "> 0.5)"))
    assert len(list(Path("outputs/partial").iterdir())) == 1
    assert lab(line).status == 0
    assert len(list(Path("outputs/partial").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("data._target_=rows_refused.rows data.kind=nothing", "returns nothing, and rows are needed"),
        ("data._target_=rows_refused.rows data.kind=texts", "a batch of the data is a str"),
        ("data._target_=rows_refused.rows data.cuont=3", "unexpected keyword argument 'cuont'"),
        ("data._target_=rows_refused.row", "there is no such class or function"),
        ("data._target_=rows_refused.rows data=iris", "Leave one of them out"),
        ("data._target_=rows_refused.rows data.memory=-1", "memory"),
        ("data=arrays data.path=nowhere.npz", "no such file"),
        ("data=folder data.path=nowhere", "no such folder"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(lab, words: str, phrase: str, tmp_path: Path) -> None:
    (tmp_path / "rows_refused.py").write_text(ROWS)
    result = lab(f"{ASK} {words}")
    assert result.status == 2
    assert phrase in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("outputs/partial/*"))


def test_an_image_that_is_another_makes_another_run(lab, tmp_path: Path) -> None:
    for c in "ab":
        for k in range(2):
            (tmp_path / "photos" / c).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((3, 3, 3), 60 * k, dtype=np.uint8)).save(tmp_path / "photos" / c / f"{k}.png")
    line = f"{ASK} data=folder data.path=photos"
    assert lab(line).status == 0
    assert lab(line).status == 0
    assert len(list(Path("outputs/partial").iterdir())) == 1
    Image.fromarray(np.full((3, 3, 3), 9, dtype=np.uint8)).save(tmp_path / "photos" / "a" / "0.png")
    assert lab(line).status == 0
    assert len(list(Path("outputs/partial").iterdir())) == 2
