"""Tensors to the text of CSV cells: exact, quick, and as pandas reads them.

A float becomes the shortest text that gives the same float back (as orjson writes it, thirty times as quickly as
``repr``): nothing is lost and nothing invented. ``nan``, ``inf``, ``True`` and integers are what `pandas.read_csv`
knows them by.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from calclab.text import cell

TOGETHER = (torch.float32, torch.float64)  # what is written a table at once
SELDOM = 20  # rows that are not finite are written by themselves if there are no more than one in so many
UNKNOWN = b"n"  # of null: JSON has no words for nan and inf


def texts(values: Tensor) -> list[str]:
    """The cells of a flat tensor (N,)."""
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if not values.dtype.is_floating_point:
        return [repr(value) for value in values.tolist()]
    array = np.ascontiguousarray(values.numpy())
    cells = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",") if len(array) else []
    for i in np.flatnonzero(~np.isfinite(array)):  # JSON has no words for these
        cells[i] = repr(float(array[i]))
    return cells


def rows(table: Tensor) -> list[bytes]:
    """The lines, without line ends, of a table (N, m)."""
    if not table.shape[1]:
        return [b""] * table.shape[0]
    if table.dtype in TOGETHER and len(table):
        lines, odd = written_at_once(table.numpy())
        if len(odd) * SELDOM <= len(lines):
            for i in odd:
                lines[i] = ",".join(texts(table[i])).encode()
            return lines
    return joined([texts(column) for column in table.unbind(1)])


def joined(columns: Iterable[Sequence[str]]) -> list[bytes]:
    """Columns of cells as lines."""
    return [",".join(row).encode() for row in zip(*columns, strict=True)]


def written_at_once(table: NDArray[Any]) -> tuple[list[bytes], list[int]]:
    """The lines of a table (N, m) of floats by one call, and which of them have a number that is not finite."""
    text = orjson.dumps(np.ascontiguousarray(table), option=orjson.OPT_SERIALIZE_NUMPY)
    lines = [part[2:] for part in text.split(b"]")[:-2]]  # of "[[1.0,2.0],[3.0,4.0]]"
    return lines, [i for i, part in enumerate(lines) if UNKNOWN in part] if UNKNOWN in text else []


def numbered(steps: Sequence[int], lines: Sequence[bytes]) -> bytes:
    """Each line with its step before it, and its end."""
    text = [b"\n"] * (2 * len(lines) + 1)
    ascending = steps[-1] - steps[0] + 1 == len(steps)
    text[:-1:2] = counted(steps[0], len(steps)) if ascending else begun(steps)
    text[1::2] = lines
    return b"".join(text)


@functools.lru_cache(maxsize=8)
def counted(first: int, count: int) -> list[bytes]:
    """What `begun` says of ``first`` and the numbers that follow: runs of one sweep have most of them in common."""
    return begun(range(first, first + count))


def begun(steps: Sequence[int]) -> list[bytes]:
    """The end of the line before, if there is one, and the step of this one."""
    return [b"%d," % steps[0], *(b"\n%d," % k for k in steps[1:])]


def line(cells: Iterable[str]) -> str:
    """One line of words, word_cells where a comma or a quote asks for it, and guarded from spreadsheets."""
    return lines([cells])


def lines(table: Iterable[Iterable[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(cell, row) for row in table)
    return buffer.getvalue()


def word_cells(names: Sequence[str]) -> list[str]:
    """Words as cells, each word_cells where it needs to be."""
    return [line([name, ""])[:-2] for name in names]


def axis(names: Sequence[Sequence[str]] | None, position: int, size: int) -> list[str]:
    """The names along one axis, or its indices where there are none (or not as many as entries)."""
    if names is not None and position < len(names) and len(names[position]) == size:
        return [str(name) for name in names[position]]
    return [str(i) for i in range(size)]
