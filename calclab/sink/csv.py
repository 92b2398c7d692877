"""CSV files in the run's folder, each readable with one `pandas.read_csv`.

``scalars.csv``    step and one column for every value of rank 0; a cell is empty where the name was not logged
``<name>.csv``     step and the entries of a value of rank 1, one row a step: a trajectory
``<name>.<k>.csv`` the matrix of rank 2 logged at step k, its row names first (``index_col=0``); where it has more than
                   250,000 entries ``<name>.<k>.parquet``, which `pandas.read_parquet` reads with its row names
``verify.csv``     the evidence

Files are made at their first row and only grow, by whole lines (`growing`), so that a killed run leaves whole rows; a
run that goes on adds to the files that it finds. The columns of scalars.csv are those of the first block; a
name that first appears later gets its column at the end: that rewrites the file once, atomically, with empty cells in
the rows before.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from calclab.core import HISTOGRAM, Column, Columns, Evidence, Outcome, Run, Verdict
from calclab.sink.cells import TOGETHER, axis, joined, line, lines, numbered, rows, texts, word_cells
from calclab.sink.growing import GrowingFile
from calclab.text import of_cell

SCALARS, VERIFY = "scalars", "verify"
LARGE = 250_000  # entries from which on a matrix is a Parquet file: a tenth of the size, and ten times as quick


class CsvSink:
    """See the module's docstring. A block costs one system call for each file.

    ``announce`` is told the names of trajectories and matrices before their files are made: ``H.#.csv`` for every step.
    """

    def __init__(self, announce: Callable[[Sequence[str]], None] = lambda names: None) -> None:
        self._announce = announce
        self._run: Run | None = None
        self._files: dict[str, GrowingFile] = {}
        self._names: list[str] = []  # the columns of scalars.csv after step

    def open(self, run: Run) -> None:
        self._run = run
        path = run.folder / f"{SCALARS}.csv"
        if path.is_file():  # a run that goes on
            with path.open(encoding="utf-8", newline="") as file:
                self._names = [of_cell(name) for name in next(csv.reader(file), ["step"])[1:]]

    def write(self, columns: Columns) -> None:
        scalars = {name: column for name, column in columns.items() if column.data.ndim == 1}
        if any(len(column.steps) for column in scalars.values()):
            self._write_scalars(scalars)
        for name, column in columns.items():
            if name.startswith(HISTOGRAM):
                continue
            if column.data.ndim == 2:
                self._write_rows(name, column)
            elif column.data.ndim == 3:
                for k, matrix in zip(column.steps, column.data, strict=True):
                    self._write_matrix(name, k, matrix)
            elif column.data.ndim > 3:
                raise ValueError(f"{name!r} has rank {column.data.ndim - 1}; a topic logs values of rank 0, 1 and 2.")

    def evidence(self, rows: Sequence[Evidence]) -> None:
        if not rows:
            return
        fields = [entry.name for entry in dataclasses.fields(Evidence)]
        words = [[cell(value) for value in vars(row).values()] for row in rows]
        self._append(VERIFY, line(fields), lines(words).encode())

    def flush(self) -> None:
        """Nothing is held back: every write is a system call of its own."""

    def close(self, outcome: Outcome) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    @property
    def _folder(self) -> Path:
        assert self._run is not None, "open comes first"
        return self._run.folder

    def _append(self, stem: str, header: str, text: bytes) -> None:
        file = self._files.get(stem)
        if file is None:
            file = self._files[stem] = GrowingFile(self._folder / f"{stem}.csv")
            text = header.encode() + text if file.fresh else text
        file.write(text)

    def _write_rows(self, name: str, column: Column) -> None:
        stem = filename(name)
        header = ""
        if stem not in self._files:
            self._announce([f"{stem}.csv"])
            header = line(["step", *axis(self._labels(name), 0, column.data.shape[1])])
        self._append(stem, header, numbered(column.steps, rows(column.data)) if len(column.steps) else b"")

    def _write_matrix(self, name: str, k: int, matrix: Tensor) -> None:
        names = self._labels(name)
        self._announce([f"{filename(name)}.#.csv", f"{filename(name)}.#.parquet"])
        down, across = axis(names, 0, matrix.shape[0]), axis(names, 1, matrix.shape[1])
        if matrix.numel() > LARGE:
            write_parquet(self._folder / f"{filename(name)}.{k}.parquet", matrix, down, across)
            return
        named = zip(word_cells(down), rows(matrix), strict=True)
        body = b"".join(b"%s,%s\n" % (row.encode(), cells) for row, cells in named)
        path = self._folder / f"{filename(name)}.{k}.csv"
        temporary = path.with_suffix(".csv.part")
        temporary.write_bytes(line(["", *across]).encode() + body)
        os.replace(temporary, path)

    def _labels(self, name: str) -> tuple[Sequence[str], ...] | None:
        assert self._run is not None, "open comes first"
        return self._run.labels.get(name)

    def _write_scalars(self, scalars: Columns) -> None:
        late = [name for name in scalars if name not in self._names]
        if late and self._names:
            self._widen(late)
        self._names += late
        self._append(SCALARS, line(["step", *self._names]), numbered(*align(self._names, scalars)))

    def _widen(self, late: Sequence[str]) -> None:
        """Give scalars.csv the columns ``late``, empty so far; readers see the old file or the new one."""
        if SCALARS in self._files:
            self._files.pop(SCALARS).close()
        path = self._folder / f"{SCALARS}.csv"
        temporary = path.with_suffix(".csv.part")
        with open(path, encoding="utf-8", newline="") as old, open(temporary, "w", encoding="utf-8", newline="") as new:
            old.readline()
            new.write(line(["step", *self._names, *late]))
            new.writelines(row.rstrip("\n") + "," * len(late) + "\n" for row in old)
        os.replace(temporary, path)


def cell(value: object) -> str:
    """A field of the evidence as a word."""
    return value.word if isinstance(value, Verdict) else str(value)


def align(names: Sequence[str], scalars: Columns) -> tuple[Sequence[int], list[bytes]]:
    """The steps of a block, ascending, and the line of ``names`` at each (a cell is empty where none was logged)."""
    steps = max(scalars.values(), key=lambda column: len(column.steps)).steps
    missing = {name: len(steps) - len(column.steps) for name, column in scalars.items()}  # before its first step
    if any(column.steps != steps[missing[name] :] for name, column in scalars.items()):
        steps = sorted({k for column in scalars.values() for k in column.steps})
        return steps, joined([scattered(steps, scalars.get(name)) for name in names])
    late = max(missing.values())
    kinds = {column.data.dtype for column in scalars.values()}
    if len(kinds) > 1 or len(scalars) < len(names) or kinds.pop() not in TOGETHER:
        late = len(steps)
    first = [
        [""] * min(missing[name], late) + texts(scalars[name].data[: late - missing[name]])
        if name in scalars
        else [""] * late
        for name in names
    ]
    if late == len(steps):
        return steps, joined(first)
    rest = torch.stack([scalars[name].data[late - missing[name] :] for name in names], 1)
    return steps, [*joined(first), *rows(rest)]


def scattered(steps: Sequence[int], column: Column | None) -> list[str]:
    """The cells at ``steps`` of a column that was logged at some of them."""
    known = {} if column is None else dict(zip(column.steps, texts(column.data), strict=True))
    return [known.get(k, "") for k in steps]


def filename(name: str) -> str:
    """The file's stem for a value; names that would leave the folder or hide another file are changed or refused."""
    stem = re.sub(r"[^\w.+\-\[\]()]+", "_", name).lstrip(".")
    if stem in ("", SCALARS, VERIFY):
        raise ValueError(f"{name!r} cannot name a trajectory or a matrix: {stem or 'that'}.csv has another use.")
    return stem


def write_parquet(path: Path, matrix: Tensor, down: Sequence[str], across: Sequence[str]) -> None:
    """A matrix as a data frame of named rows and columns; whole or not at all."""
    import pandas as pd

    temporary = path.with_name(f".{path.name}")
    pd.DataFrame(matrix.numpy(), index=pd.Index(down), columns=list(across)).to_parquet(temporary)
    os.replace(temporary, path)
