"""What is missing in a table: rows dropped or refused, or values put in, of the rows to learn from.

Values are put in only after rows were held out, so that nothing of these goes into what is learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from calclab.data.kinds import kind_of, listed
from calclab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gap:
    """A column with missing values: the numbers of its inputs, which are NaN where it has none. Its mean is put in or,
    of a column of categories or of booleans, its ``most_frequent`` value."""

    name: str
    inputs: tuple[int, ...]
    most_frequent: bool


def complete(frame: pd.DataFrame, features: list[str], target: str, missing: str) -> tuple[pd.DataFrame, list[str]]:
    """The table without infinite values or empty columns, and without the rows that are to be dropped; notes on what
    was done. With ``missing`` = mean, values of features may still be missing: see `Gap`."""
    frame = frame.copy()
    for name in frame.columns:
        if kind_of(frame[name]) == "number":
            numbers = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            frame[name] = np.where(np.isfinite(numbers), numbers, np.nan)
    notes = []
    if empty := [name for name in features if frame[name].isna().all()]:
        frame = frame.drop(columns=empty)
        notes.append(f"columns without any value are left out: {listed(empty)}")
    if len(empty) == len(features):
        raise UserError(f"the columns {listed(features)} hold no values at all. Choose others by data.features")
    counts = frame.isna().sum()
    gaps = [f"{name} ({counts[name]})" for name in frame.columns if counts[name]]
    if not gaps:
        return frame, notes
    if missing == "error":
        raise UserError(
            f"data.missing=error: values are missing in {listed(gaps)}. Type data.missing=drop or data.missing=mean"
        )
    before = len(frame)
    if missing == "mean":
        frame = frame.dropna(subset=[target])
        dropped = f"{before - len(frame)} rows without a target dropped, " if len(frame) < before else ""
        notes.append(f"missing values in {listed(gaps)}: {dropped}means put in (of texts the most frequent)")
    else:
        frame = frame.dropna()
        most = counts.idxmax()
        advice = f"; most of them for {most}: data.missing=mean fills it, data.features leaves it out"
        dropped = f"{before - len(frame)} of {before} rows dropped" + advice * (2 * len(frame) < before)
        notes.append(f"missing values in {listed(gaps)}: {dropped}")
    if not len(frame):
        advice = (
            "Type data.missing=mean, or leave columns out by data.features" if missing == "drop" else "Choose another"
        )
        raise UserError(f"no row is left: values are missing in {listed(gaps)}. {advice}")
    return frame, notes


def gaps(frame: pd.DataFrame, made_of: Sequence[str]) -> list[Gap]:
    """The columns of a table in which values are missing; ``made_of`` names the column of each input."""
    found = []
    for name in frame.columns:
        if frame[name].isna().any():
            inputs = tuple(i for i, column in enumerate(made_of) if column == name)
            found.append(Gap(name, inputs, kind_of(frame[name]) in ("text", "boolean")))
    return found


def filled(inputs: Tensor, learned: Tensor, gaps: Sequence[Gap]) -> Tensor:
    """Inputs (B, d) with every NaN filled in by what the rows numbered ``learned`` have."""
    inputs = inputs.clone()
    for gap in gaps:
        block = inputs[:, list(gap.inputs)]
        missing = block.isnan().any(1)
        seen = block[learned][~missing[learned]]
        if not len(seen):
            raise UserError(
                f"{gap.name} has no value in any of the {len(learned)} rows to learn from. Leave it out by "
                "data.features, or type a smaller data.held_out"
            )
        value = seen.mean(0)
        if gap.most_frequent and len(value) > 1:  # of one-hot inputs
            value = torch.nn.functional.one_hot(value.argmax(), len(value)).to(value)
        elif gap.most_frequent:
            value = (value > 0.5).to(value)
        block[missing] = value
        inputs[:, list(gap.inputs)] = block
    return inputs
