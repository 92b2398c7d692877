"""What a run has written so far, read back from its CSVs: for pictures and claims of a run that goes on."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import torch

from calclab.core import Column
from calclab.sink.csv import SCALARS, filename


def recorded(folder: Path, names: Iterable[str]) -> dict[str, Column]:
    """The values of ``names`` that were logged, as float64 columns; names that were not are left out."""
    found = {}
    table = read(folder / f"{SCALARS}.csv")
    header = table[0] if table else []
    for name in dict.fromkeys(names):
        if name == "step":
            continue
        if name in header:
            place = header.index(name)
            kept = [row for row in table[1:] if row[place]]
            if kept:
                found[name] = Column([int(row[0]) for row in kept], numbers([[row[place]] for row in kept])[:, 0])
        elif track := read(folder / f"{filename(name)}.csv")[1:]:
            found[name] = Column([int(row[0]) for row in track], numbers([row[1:] for row in track]))
        elif matrices := sorted((int(path.name.split(".")[-2]), path) for path in matrix_files(folder, name)):
            data = [numbers([row[1:] for row in read(path)[1:]]) for _, path in matrices]
            found[name] = Column([k for k, _ in matrices], torch.stack(data))
    return found


def matrix_files(folder: Path, name: str) -> list[Path]:
    """The files <name>.<k>.csv of a matrix."""
    stem = filename(name)
    return [
        path
        for path in folder.glob("*.csv")
        if path.name.rsplit(".", 2)[0] == stem and path.name.count(".") > 1 and path.name.split(".")[-2].isdigit()
    ]


def read(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def numbers(rows: list[list[str]]) -> torch.Tensor:
    return torch.tensor([[float(text) for text in row] for row in rows], dtype=torch.float64)
