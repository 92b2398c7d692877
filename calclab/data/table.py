"""The user's own table, CSV or Parquet: columns become inputs and a target, and what was done to them is noted."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor

from calclab.core import Data
from calclab.data import columns
from calclab.data import missing as missing_values
from calclab.data.finish import Common, finish
from calclab.data.kinds import FEW, are_classes, kind_of, settled
from calclab.data.parts import bytes_of, dataset, read_batches
from calclab.data.read import HEADERLESS, headerless, read
from calclab.data.rows import KEPT
from calclab.errors import UserError
from calclab.text import is_number, quoted

if TYPE_CHECKING:
    import pandas as pd

MANY = 100  # more classes than that are refused


def table(
    *,
    path: str | None,
    target: str | None,
    features: Sequence[str] | None,
    categories: Sequence[str] | None,
    missing: str,
    na: str | None,
    separator: str | None,
    task: str,
    rows: int | None,
    header: bool,
    memory: float,
    **common: Unpack[Common],
) -> Data:
    """Data from the file ``path``: the column ``target`` to predict from the columns ``features`` (None: all others).

    Numbers stay, booleans become 0 and 1, a text column, or one named in ``categories``, becomes one input for each of
    its values ("colour=red"). A column that only counts the rows is left out, unless ``features`` names it. Rows with
    missing values are dropped (``missing`` = drop), filled (mean, by the rows to learn from), or refused (error); rows
    whose target is missing are dropped or refused.
    """
    if path is None:
        raise UserError("data=table needs a file. Type data.path=my.csv data.target=<the column to predict>")
    if target is not None and bytes_of(path) > memory * 1e9 / KEPT:
        names = dataset(path).schema.names
        wanted = choose(names, target, features, nameless=False)
        large = read_batches(path, target, wanted, missing=missing, memory=memory)
        targets, classes, classification = to_targets(large.target, target, task)
        return finish(
            "table",
            large.inputs,
            targets,
            features=wanted,
            classes=classes,
            classification=classification,
            rows=rows,
            notes=large.notes,
            places=large.places,
            **common,
        )
    frame = read(path, na, separator, header).reset_index(drop=True)
    names = [str(name) for name in frame.columns]
    nameless = header and headerless(names)
    if target is None:
        advice = HEADERLESS if nameless else f"Type data.target={quoted(names[-1])}, or another of {listed(names)}"
        raise UserError(f"data=table needs the column to predict. {advice}")
    wanted, counting = choose(names, target, features, nameless=nameless), ""
    if features is None:
        wanted, counting = without_counters(frame, wanted)
    frame, meant = settled(frame[[*wanted, target]], [str(name) for name in categories or ()])
    frame, notes = missing_values.complete(frame, wanted, target, missing)
    notes = [note for note in (HEADERLESS if nameless else "", counting, *meant, *notes) if note]
    wanted = [name for name in wanted if name in frame.columns]
    frame = columns.categorical(frame, wanted, target, categories)
    kept = torch.from_numpy(frame.index.to_numpy().copy())
    inputs, labels, made_of = columns.encode(frame[wanted], target)
    targets, classes, classification = to_targets(frame[target], target, task)
    if task == "auto":
        kind = f"classes ({len(classes)})" if classification else "a number to predict"
        other = (
            "; data.task=regression takes it for a number" if classification and classes_are_numbers(classes) else ""
        )
        few = torch.unique(targets)
        if not classification and len(few) <= FEW and bool((few == few.round()).all()):
            other = "; data.task=classification takes it for classes"
        notes.append(f"{target} is taken for {kind}{other}")
    return finish(
        "table",
        torch.from_numpy(inputs),
        targets,
        features=labels,
        classes=classes,
        classification=classification,
        rows=rows,
        notes=notes,
        columns=made_of,
        gaps=missing_values.gaps(frame[wanted], made_of),
        places=kept,
        **common,
    )


def without_counters(frame: pd.DataFrame, names: list[str]) -> tuple[list[str], str]:
    """The columns that tell something, and a note on those that only count the rows, as exports often have first.

    In a table that is sorted by what is to be predicted, such a number would give it away.
    """
    gone = [name for name in names if columns.counts_rows(frame[name], name)]
    if not gone or len(gone) == len(names):
        return names, ""
    advice = "to keep it, name it in data.features" if len(gone) == 1 else "to keep them, name them in data.features"
    kept = [name for name in names if name not in gone]
    return kept, f"left out, since it only counts the rows: {listed(gone)}; {advice}"


def choose(names: list[str], target: str, features: Sequence[str] | None, *, nameless: bool) -> list[str]:
    """The columns to predict from; UserError with the nearest name for one that is not there."""
    chosen = [name for name in names if name != target] if features is None else [str(name) for name in features]
    for key, name in [("target", target), *(("features", name) for name in chosen)]:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            first = quoted(names[0] if key == "target" else f"[{names[0]}]")
            hint = f"Did you mean {near[0]}?" if near else f"Type for example data.{key}={first}"
            hint = HEADERLESS if nameless else hint
            raise UserError(f"data.{key}={name}: the table has no such column. It has {listed(names)}. {hint}")
    if target in chosen:
        raise UserError(f"data.features holds the target {target} itself. Leave it out of data.features")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"data.features={listed(chosen)}: a column stands there twice. Name each once")
    if not chosen:
        raise UserError(
            f"no column is left to predict {target} from. Type data.features='[...]', some of {listed(names)}"
        )
    return chosen


def to_targets(column: pd.Series, name: str, task: str) -> tuple[Tensor, list[str], bool]:
    """Class numbers (B,) with the classes, or numbers (B, 1) with the column's name, and which of the two."""
    kind = kind_of(column)
    if kind == "date":
        raise UserError(
            f"data.target={name} holds dates. Turn them into numbers first, such as days since the first one"
        )
    texts = kind == "text"
    values = column.astype(str).to_numpy() if texts else column.to_numpy(dtype=np.float64)
    different = np.unique(values)
    whole = kind == "number" and are_classes(different, len(values))
    if task == "regression" and texts:
        raise UserError(
            f"data.task=regression: the target {name} holds texts such as {different[0]!r}. Type data.task=auto"
        )
    if task == "regression" or (task == "auto" and not (texts or kind == "boolean" or whole)):
        if len(different) < 2:
            raise UserError(f"data.target={name} has one value only, {different[0]:g}: there is nothing to learn")
        return torch.from_numpy(values.copy()).unsqueeze(1), [name], False
    if len(different) < 2:
        raise UserError(f"data.target={name} has one class only, {different[0]}: there is nothing to tell apart")
    if len(different) > MANY:
        advice = "Group them first" if texts else "Type data.task=regression"
        raise UserError(f"data.target={name} has {len(different)} different values: too many for classes. {advice}")
    if texts and len(different) > columns.FEW and 2 * len(different) > len(values):
        raise UserError(
            f"data.target={name} has {len(different)} different texts, such as {different[0]!r}, in {len(values)} "
            "rows: hardly classes. Turn them into numbers, or group them first"
        )
    if texts and (odd := columns.unusable(column)).startswith("holds numbers"):
        raise UserError(f"data.target={name} {odd}")
    numbers = np.searchsorted(different, values)
    return torch.from_numpy(numbers).long(), class_names(different, kind), True


def class_names(different: np.ndarray, kind: str) -> list[str]:
    if kind == "boolean":
        return ["true" if value else "false" for value in different]
    return [str(value) if kind == "text" else f"{value:.12g}" for value in different]


def classes_are_numbers(classes: Sequence[str]) -> bool:
    return all(is_number(name) for name in classes)


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown
