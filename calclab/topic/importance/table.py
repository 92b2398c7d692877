"""The tidy table: one line for each row of the data, each feature and each method, in the user's own units.

Rows have the numbers that they have in the user's table, from 0, whatever was dropped, drawn or held out.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject.network import Network
from calclab.text import cell as guarded
from calclab.topic.importance.methods import INWARD, WHOLE
from calclab.topic.importance.problem import ImportanceProblem

NAME, RANKING = "table.csv", "ranking.csv"
TWO = 1.96  # standard errors of an interval of 95 %
HEADER = ("row", "feature", "method", "target", "value", "error")
Part = tuple[str, Tensor, Tensor, Sequence[str]]  # method, values (N, C), errors (N, C), the target of each row


def parts(problem: ImportanceProblem, state: State) -> list[Part]:
    """Values and errors (N, C) of each method, in the user's units."""
    found: list[Part] = []
    features = problem.features
    if problem.by_row:
        values, errors = (
            torch.cat([state["blocks"][str(i)][name] for i in range(len(state["blocks"]))], 1)
            for name in ("values", "errors")
        )
        for m, name in enumerate(problem.by_row):
            own, off = features.by_feature(values[m], name), features.by_feature(errors[m].abs())
            if (factor := problem.factor_of(name)) is not None:
                own, off = own * factor, off * factor
            own, off = features.per_unit(name, own), features.per_unit(name, off)
            found.append((name, own.cpu(), off.cpu(), targets(problem, name)))
    if "permutation" in state:
        entry = state["permutation"]
        assert isinstance(problem.subject, Network)
        score = problem.score(problem.subject)
        found.append(("permutation", entry["values"].cpu(), entry["errors"].cpu(), [score]))
    return found


def targets(problem: ImportanceProblem, method: str) -> list[str]:
    """What was attributed of each row, by name."""
    chosen = None if method in INWARD else problem.predicted(problem.inputs)
    if chosen is not None:
        through = problem.of_what(method).removeprefix(problem.what)
        return [problem.outputs[int(i)] + through for i in chosen]
    named = problem.outputs or method in INWARD
    return [problem.of_what(method) if named else problem.subject.name] * max(1, problem.count)


def write(folder: Path, parts: Iterable[Part], features: Sequence[str], places: Sequence[int]) -> None:
    """Whole or not at all. ``places`` are the rows' in the user's table. A cell is empty where there is no number: an
    error that is not known, a column that never varies. The one row of methods that speak of all rows together is
    called all."""
    path = folder / NAME
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for method, values, errors, targets in parts:
            words = [quoted(name) for name in features]
            for row, (numbers, bounds) in enumerate(zip(values.tolist(), errors.tolist(), strict=True)):
                head = "all" if method in WHOLE else str(places[row])
                target = quoted(targets[row])
                file.writelines(
                    f"{head},{name},{method},{target},{cell(value)},{cell(error)}\n"
                    for name, value, error in zip(words, numbers, bounds, strict=True)
                )
    os.replace(temporary, path)


class Ranked(NamedTuple):
    """Importance (C,) of the features, the ends of its interval, and the ranks that each may have, where it is told."""

    importance: Tensor
    low: Tensor
    high: Tensor
    first: Tensor | None
    last: Tensor | None


def write_ranking(folder: Path, names: Sequence[str], told: Ranked, direction: Tensor | None, unit: str) -> None:
    """The features in the order of their importance, one a line: whole or not at all."""
    count = len(names)
    nothing = torch.full((count,), torch.nan)
    columns = [told.importance, told.low, told.high, nothing if direction is None else direction]
    numbers = torch.stack([column.detach().cpu().double() for column in columns], 1).tolist()
    possible = [("", "")] * count
    if told.first is not None and told.last is not None:
        possible = [(str(a), str(b)) for a, b in zip(told.first.tolist(), told.last.tolist(), strict=True)]
    path = folder / RANKING
    temporary = path.with_suffix(".csv.part")
    order = told.importance.argsort(descending=True, stable=True).tolist()
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write("rank,feature,importance,low,high,direction,first_rank,last_rank,unit\n")
        for rank, i in enumerate(order, 1):
            file.write(
                f"{rank},{quoted(names[i])},{','.join(map(cell, numbers[i]))},{','.join(possible[i])},{quoted(unit)}\n"
            )
    os.replace(temporary, path)


def cell(value: float) -> str:
    return "" if value != value else repr(value)


def quoted(text: str) -> str:
    """As a cell of a CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([guarded(text)])
    return buffer.getvalue()
