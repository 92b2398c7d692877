"""Columns of a table: what they hold, and how they become numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from calclab.data.kinds import kind_of, listed
from calclab.data.numbers import numbers_of
from calclab.errors import UserError
from calclab.text import is_number

if TYPE_CHECKING:
    import pandas as pd

MANY = 50  # more different texts than that are refused as a category
FEW = 10  # up to so many are one, however few rows there are
COUNTERS = {"", "index", "id", "row", "rows", "rownames", "row names", "rowid", "row id", "rownum", "row number", "nr"}


def encode(frame: pd.DataFrame, target: str) -> tuple[np.ndarray, list[str], list[str]]:
    """Inputs (B, d) in float64, their names, and of each the column that it was made of; NaN where a value is missing.

    UserError, for all columns at once, where one cannot be used.
    """
    problems: list[str] = []
    usable: list[str] = []
    for name in frame.columns:
        problem = unusable(frame[name])
        (problems if problem else usable).append(f"{name} {problem}" if problem else name)
    if problems:
        rest = (
            f"leave out: data.features='[{', '.join(map(typed, usable))}]'"
            if usable
            else "choose others by data.features"
        )
        raise UserError(
            f"columns that cannot be inputs: {'; '.join(problems)}. Turn them into numbers first, or {rest}"
        )
    blocks, labels, made_of = [], [], []
    for name in frame.columns:
        column = frame[name]
        if kind_of(column) == "text":
            gone = column.isna().to_numpy()
            texts = column.astype(str).to_numpy()
            values = np.unique(texts[~gone])
            blocks += [np.where(gone, np.nan, texts == value) for value in values]
            labels += [f"{name}={value}" for value in values]
            made_of += [name] * len(values)
        else:
            blocks.append(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))
            labels.append(name)
            made_of.append(name)
    return np.stack(blocks, axis=1), labels, made_of


def categorical(frame: pd.DataFrame, features: list[str], target: str, names: Sequence[str] | None) -> pd.DataFrame:
    """The table with the columns ``names``, numbers that stand for categories, as pandas' own categories of texts."""
    for name in map(str, names or ()):
        if name == target:
            raise UserError(f"data.categories={name}: that is the target. Type data.task=classification instead")
        if name not in features:
            near = difflib.get_close_matches(name, features, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}?" if near else f"Type one of {listed(features)}"
            raise UserError(f"data.categories={name}: it is no column to predict from. {hint}")
        if kind_of(frame[name]) in ("number", "boolean"):
            numbers = frame[name].astype(float)
            frame = frame.assign(**{name: numbers.map("{:.12g}".format, na_action="ignore").astype("category")})
        elif kind_of(frame[name]) in ("text", "date"):
            frame = frame.assign(**{name: frame[name].astype(str).where(frame[name].notna()).astype("category")})
    return frame


def counts_rows(column: pd.Series, name: str) -> bool:
    """Whether a column counts the rows, 0, 1, 2, ... or 1, 2, 3, ..., and is called like one that does."""
    plain = re.sub(r"[\W_]+", " ", name).strip().lower()
    if not (plain in COUNTERS or plain.startswith("unnamed")) or kind_of(column) != "number":
        return False
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return len(values) > 2 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def unusable(column: pd.Series) -> str:
    """Why a column cannot be an input; empty when it can."""
    kind = kind_of(column)
    if kind == "date":
        return "holds dates (turn them into a year, or days since the first one)"
    if kind == "other":
        return "holds neither numbers nor texts"
    if kind != "text":
        return ""
    texts = column.dropna().astype(str)
    values = texts.unique()
    meant = str(column.dtype) == "category"  # numbers among the texts are no sign of a mistake
    numbers = [value for value in values if is_number(value)]
    if not meant and 2 * len(numbers) > len(values) > 2:
        odd = next((value for value in values if not is_number(value)), values[0])
        return f"holds numbers and texts such as {odd!r} (if that means missing, type data.na='{odd}')"
    found = "" if meant else numbers_of(list(values))[1]
    if found == "ambiguous":
        odd = next(value for value in values if "," in value)
        return f"holds numbers such as {odd!r}, whose comma may stand for thousands or decimals (write them without)"
    if found == "units":
        return f"holds numbers with units such as {values[0]!r} (write the numbers alone)"
    if len(values) > MANY:
        return f"has {len(values)} different texts, too many for categories"
    if len(values) > FEW and 2 * len(values) > len(texts):
        return f"has {len(values)} different texts in {len(texts)} rows, hardly a category"
    return ""


def typed(name: str) -> str:
    """A name as it is typed into a list on the command line: in quotes, where it has more than letters and digits."""
    return name if re.fullmatch(r"[\w.]+", name) else '"' + name + '"'
