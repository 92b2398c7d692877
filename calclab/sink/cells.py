"""Tensors to the text of CSV cells: exact, quick, and as pandas reads them.

A float becomes the shortest text that gives the same float back (as orjson writes it, thirty times as quickly as
``repr``): nothing is lost and nothing invented. ``nan``, ``inf``, ``True`` and integers are what `pandas.read_csv`
knows them by.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
import orjson
import torch
from torch import Tensor


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


def rows(table: Tensor) -> list[str]:
    """The lines, without line ends, of a table (N, m)."""
    if not table.shape[1]:
        return [""] * table.shape[0]
    return [",".join(row) for row in zip(*[texts(column) for column in table.unbind(1)], strict=True)]


def line(cells: Iterable[str]) -> str:
    """One line of words, quoted where a comma or a quote asks for it."""
    return lines([cells])


def lines(table: Iterable[Iterable[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    return buffer.getvalue()


def quoted(names: Sequence[str]) -> list[str]:
    """Words as cells, each quoted where it needs to be."""
    return [line([name, ""])[:-2] for name in names]


def axis(names: Sequence[Sequence[str]] | None, position: int, size: int) -> list[str]:
    """The names along one axis, or its indices where there are none (or not as many as entries)."""
    if names is not None and position < len(names) and len(names[position]) == size:
        return [str(name) for name in names[position]]
    return [str(i) for i in range(size)]
