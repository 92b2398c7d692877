"""A Parquet table in parts, and one that does not fit in memory: a batch of rows after the other, numbers alone."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from calclab.data.rows import KEPT, windowed
from calclab.data.store import Growing
from calclab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = {".parquet", ".pq"}
TOGETHER = 4096  # rows of a batch


def parts_of(path: str) -> list[str]:
    """The Parquet files of a folder, or those that a pattern matches, in the order of their names; none of a file."""
    file = Path(path).expanduser()
    found = file.rglob("*") if file.is_dir() else map(Path, glob.glob(str(file), recursive=True))
    files = sorted(str(part) for part in found if part.suffix.lower() in SUFFIXES and part.is_file())
    return [] if file.is_file() else files


def dataset(path: str) -> Any:
    """The parts as one table of pyarrow's."""
    import pyarrow.dataset as ds

    parts = parts_of(path)
    file = Path(path).expanduser()
    if file.is_dir() and parts:
        return ds.dataset(parts, format="parquet", partitioning="hive", partition_base_dir=str(file))
    return ds.dataset(parts or str(file), format="parquet")


def bytes_of(path: str) -> float:
    """What a Parquet table takes as numbers in float64; 0 of what is none, or cannot be read."""
    if not parts_of(path) and not (Path(path).suffix.lower() in SUFFIXES and Path(path).expanduser().is_file()):
        return 0.0
    try:
        table = dataset(path)
        return 8.0 * table.count_rows() * len(table.schema)
    except (OSError, ValueError, TypeError):  # told of by who reads it
        return 0.0


@dataclass(frozen=True)
class Read:
    """Rows (B, d) of a large table, the column to predict of each, which row each one is, and notes."""

    inputs: Tensor
    target: pd.Series
    places: Tensor
    notes: list[str]


def read_batches(path: str, target: str, wanted: Sequence[str], *, missing: str, memory: float) -> Read:
    """The columns ``wanted`` of a large Parquet table, and ``target``. Rows with missing values are dropped or refused.

    Raises UserError for columns of texts, which would have to be known whole, and where means are to be put in.
    """
    import pandas as pd

    table, room = dataset(path), memory * 1e9
    texts = [name for name in wanted if not number(table.schema.field(name).type)]
    big = f"the table takes {bytes_of(path) / 1e9:.2g} gigabytes, and with data.memory={memory:g} it is read row by row"
    if texts:
        usable = [name for name in wanted if name not in texts]
        raise UserError(
            f"{big}, where {', '.join(texts[:5])} hold no numbers. Type data.features='[{', '.join(usable[:5])}]', or "
            "a larger data.memory"
        )
    if missing == "mean":
        raise UserError(f"{big}: means are not put in there. Type data.missing=drop, or a larger data.memory")
    column = Growing("inputs", room / KEPT, lambda _: torch.float64)
    labels, kept, first = [], [], 0
    for batch in table.to_batches(columns=[*wanted, target], batch_size=TOGETHER):
        frame = batch.to_pandas()
        numbers = np.stack([frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in wanted], axis=1)
        fit = np.isfinite(numbers).all(axis=1) & frame[target].notna().to_numpy()
        if missing == "error" and not fit.all():
            row = first + int((~fit).argmax())
            raise UserError(f"data.missing=error: a value is missing in row {row}. Type data.missing=drop")
        if fit.any():
            column.add(torch.from_numpy(numbers[fit]))
            labels.append(frame[target][fit])
            kept.append(first + np.flatnonzero(fit))
        first += len(frame)
    if not labels:
        raise UserError(f"data.path={path}: no row of the table is without a missing value")
    inputs = column.whole(room)
    notes = windowed(inputs)
    if column.count < first:
        notes.append(f"missing values: {first - column.count} of {first} rows dropped")
    return Read(inputs, pd.concat(labels, ignore_index=True), torch.from_numpy(np.concatenate(kept)), notes)


def number(kind: Any) -> bool:
    import pyarrow.types as types

    return any(is_(kind) for is_ in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))
