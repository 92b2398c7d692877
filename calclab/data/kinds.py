"""What a column of a table holds, and what its texts mean: numbers as people write them, dates, words for a gap.

Words such as None or NA are categories wherever a category can stand, unless the user says otherwise: of a country
code, a street or a name they are as good as any. Among numbers they can only stand for a missing one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from calclab.data.numbers import numbers_of

if TYPE_CHECKING:
    import pandas as pd

ALWAYS = (  # notations of a missing value: no category is called so
    "", "NaN", "nan", "-NaN", "-nan", "<NA>", "#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip
WORDS = ("NA", "N/A", "n/a", "NULL", "null", "None")  # missing among numbers, dates and booleans; else themselves
NA = "NA"  # where a table has it among its numbers, as R writes it, it means the same in its other columns
TRUTHS = {"true": True, "false": False}
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.?"
WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
YEAR, OF_YEAR = r"\d{4}", r"(?:0?[1-9]|1[0-2])"
DATE = re.compile(
    WEEKDAY
    + rf"(?:{YEAR}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:{YEAR}|\d{{2}})"
    + rf"|\d{{1,2}}(?:st|nd|rd|th)?\.?[- ]?{MONTH}[-, ]+(?:{YEAR}|\d{{2}})"
    + rf"|{MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? {YEAR}|{MONTH}[- ,]+{YEAR}|{YEAR}[- ]{MONTH}(?:[- ]\d{{1,2}})?"
    + rf"|{YEAR}[-/]{OF_YEAR}|{OF_YEAR}/{YEAR}|{YEAR}-?[qQ][1-4]|[qQ][1-4][- /]?{YEAR}|{YEAR}-?W\d{{2}}(?:-\d)?)"
    + r"(?:[ T,]+\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?",
    re.IGNORECASE,
)


def kind_of(column: pd.Series) -> str:
    """What a column holds: number, boolean, text or date ("other" for anything else)."""
    from pandas.api import types

    if types.is_bool_dtype(column.dtype):
        return "boolean"
    if types.is_complex_dtype(column.dtype):
        return "other"
    if types.is_numeric_dtype(column.dtype):
        return "number"
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return "date"
    values = column.dropna()
    if not len(values):
        return "number"
    return _kind_of_objects(list(values))


def _kind_of_objects(values: list[Any]) -> str:
    import datetime
    from decimal import Decimal

    if all(isinstance(value, bool | np.bool_) for value in values):
        return "boolean"
    if all(isinstance(value, str) for value in values):
        return "date" if all(DATE.fullmatch(value.strip()) for value in values) else "text"
    if all(isinstance(value, int | float | Decimal | np.number) for value in values):
        return "number"
    if any(isinstance(value, datetime.date | datetime.time | datetime.timedelta) for value in values):
        return "date"
    return "text" if all(isinstance(value, str | int | float | bool) for value in values) else "other"


def settled(frame: pd.DataFrame, categories: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table with numbers, truths and gaps where texts mean them, but in ``categories``; and what to say of it."""
    texts = [
        name
        for name in frame.columns
        if name not in categories and str(frame[name].dtype) != "category" and kind_of(frame[name]) == "text"
    ]
    marks: dict[str, list[str]] = {}
    told: list[str] = []  # columns of numbers among which is NA
    left: list[str] = []
    for name in texts:
        column = frame[name]
        word = column.isin(WORDS)
        rest = column[~word].dropna()
        different = [str(value) for value in rest.unique()]
        numbers, how = numbers_of(different)
        if numbers is not None:
            known = dict(zip(different, numbers, strict=True))
            frame = frame.assign(**{name: rest.astype(str).map(known).reindex(column.index).astype(float)})
            told += [name] if bool((column == NA).any()) else []
            if how:
                marks.setdefault(how, []).append(name)
        elif not different:
            frame = frame.assign(**{name: column.where(~word)})
        elif {value.lower() for value in different} <= set(TRUTHS):
            frame = frame.assign(
                **{name: column.where(~word).map(lambda v: TRUTHS[str(v).lower()], na_action="ignore")}
            )
        elif all(DATE.fullmatch(value) for value in different):
            frame = frame.assign(**{name: column.where(~word)})
        elif bool(word.any()):
            left.append(name)
    notes = [f"numbers with {how}: {listed(names)}" for how, names in marks.items()]
    for name in left:
        frame, note = of_words(frame, name, told)
        notes.append(note)
    return frame, notes


def of_words(frame: pd.DataFrame, name: str, told: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """A column of texts with words among them: NA is a gap where other columns say so; what each was taken for."""
    column = frame[name]
    counts = {word: int((column == word).sum()) for word in WORDS}
    if told and counts[NA]:
        frame = frame.assign(**{name: column.where(column != NA)})
        say = f"NA in {name} ({counts[NA]}) counts as missing, as it does in {listed(list(told))}"
        return frame, f"{say}: name {name} in data.categories if it is a value"
    seen = [f"{word} ({count})" for word, count in counts.items() if count]
    first = next(word for word, count in counts.items() if count)
    return frame, f"{' and '.join(seen)} in {name} counts as a category: data.na={first} makes it missing"


SHOWN = 5


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


FEW = 20  # so many different whole numbers are still taken for classes


def are_classes(different: np.ndarray, rows: int) -> bool:
    """Whether ``different`` numbers of so many rows are taken for classes: they are whole, few, and each stands for two
    rows or more on average; or there are two of them."""
    whole = bool((different == np.round(different)).all())
    return whole and len(different) <= FEW and (len(different) <= 2 or 2 * len(different) <= rows)
