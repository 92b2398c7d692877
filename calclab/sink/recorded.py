"""What a run has written so far, read back from its CSVs: for pictures and claims of a run that goes on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calclab.core import Column
from calclab.sink.csv import SCALARS, filename
from calclab.text import of_cell


def recorded(folder: Path, names: Iterable[str], last: Mapping[str, Tensor] | None = None) -> dict[str, Column]:
    """The values of ``names`` that were logged, each in the dtype that ``last`` has it in, else float64.

    A cell is the shortest decimal of one number of that dtype, which so comes back bit for bit. Names that were not
    logged are left out.
    """
    found = {}
    table = read(folder / f"{SCALARS}.csv")
    header = [of_cell(name) for name in table[0]] if table else []
    for name in dict.fromkeys(names):
        dtype = last[name].dtype if last and name in last else torch.float64
        if name == "step":
            continue
        if name in header:
            place = header.index(name)
            kept = [row for row in table[1:] if row[place]]
            if kept:
                found[name] = Column([int(row[0]) for row in kept], numbers([row[place] for row in kept], dtype))
        elif track := read(folder / f"{filename(name)}.csv")[1:]:
            found[name] = Column([int(row[0]) for row in track], numbers([row[1:] for row in track], dtype))
        elif matrices := sorted(matrix_files(folder, name)):
            data = [matrix(path, dtype) for _, path in matrices]
            found[name] = Column([k for k, _ in matrices], torch.stack(data))
    return found


def matrix_files(folder: Path, name: str) -> list[tuple[int, Path]]:
    """The files <name>.<k>.csv and <name>.<k>.parquet of a matrix, with k."""
    stem = filename(name)
    parts = ((path.name.rsplit(".", 2), path) for path in folder.iterdir())
    return [
        (int(part[1]), path)
        for part, path in parts
        if len(part) == 3 and part[0] == stem and part[1].isdigit() and part[2] in ("csv", "parquet")
    ]


def matrix(path: Path, dtype: torch.dtype) -> Tensor:
    """The entries of a matrix, without the names of its rows."""
    if path.suffix == ".parquet":
        import pandas as pd

        return torch.from_numpy(pd.read_parquet(path).to_numpy().copy()).to(dtype)
    return numbers([row[1:] for row in read(path)[1:]], dtype)


def read(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def numbers(cells: Sequence[str] | Sequence[Sequence[str]], dtype: torch.dtype) -> Tensor:
    """Cells, or rows of cells, as the numbers that were written; those of 16 bits were written as float32."""
    if dtype is torch.bool:
        return torch.from_numpy(np.array(cells) == "True")
    if not dtype.is_floating_point:
        return torch.from_numpy(np.array(cells, dtype=np.int64)).to(dtype)
    wide = np.float64 if dtype is torch.float64 else np.float32
    return torch.from_numpy(np.array(cells, dtype=wide)).to(dtype)
