"""The tidy table: one line for each row of the data, each column and each method, in the user's own units."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

NAME = "table.csv"
HEADER = ("row", "feature", "method", "target", "value", "error")
Part = tuple[str, Tensor, Tensor, Sequence[str]]  # method, values (N, C), errors (N, C), the target of each row


def write(folder: Path, parts: Iterable[Part], columns: Sequence[str], whole: Sequence[str]) -> None:
    """Whole or not at all. A cell is empty where there is no number: an error that is not known, a column that never
    varies. The one row of methods that speak of the ``whole`` is called all."""
    path = folder / NAME
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for method, values, errors, targets in parts:
            words = [quoted(name) for name in columns]
            for row, (numbers, bounds) in enumerate(zip(values.tolist(), errors.tolist(), strict=True)):
                head = "all" if method in whole else str(row)
                target = quoted(targets[row])
                file.writelines(
                    f"{head},{name},{method},{target},{cell(value)},{cell(error)}\n"
                    for name, value, error in zip(words, numbers, bounds, strict=True)
                )
    os.replace(temporary, path)


def cell(value: float) -> str:
    return "" if value != value else repr(value)


def quoted(text: str) -> str:
    """As a cell of a CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([text])
    return buffer.getvalue()
