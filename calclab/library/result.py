"""What a question gives: numbers by name with their bounds, the evidence, frames, figures, and a folder on request."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from calclab.core import Column, Columns, Evidence, Outcome, Run
from calclab.errors import UserError
from calclab.report.numbers import worst
from calclab.report.show import join
from calclab.report.terminal import lines

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("folder", "see it")  # lines of a run that has a folder


class RefutedError(Exception):
    """Independent evidence contradicts a number."""


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The answer to a question, with what it rests on.

    Every value of the answer is an attribute by its name: a number as ``float``, a vector or matrix as a tensor, a word
    as text. ``columns`` are what was logged, ``files`` what the topic left for other runs.
    """

    run: Run
    outcome: Outcome
    columns: Columns
    files: Mapping[str, bytes]

    # --- numbers ---

    @property
    def values(self) -> dict[str, Any]:
        """The answer's numbers and words by name."""
        answer = self.outcome.answer
        return {} if answer is None else {name: plain(value) for name, value in answer.values.items()}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            answer = self.__dict__["outcome"].answer if "outcome" in self.__dict__ else None
            if answer is not None and name in answer.values:
                return plain(answer.values[name])
            known = ", ".join(answer.values) if answer is not None else "nothing"
            raise AttributeError(f"this result has no {name!r}. It has {known}")
        raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.values]

    @property
    def sentence(self) -> str:
        """The answer in words."""
        return "" if self.outcome.answer is None else self.outcome.answer.sentence

    @property
    def bounds(self) -> dict[str, float]:
        """How far from the truth each quantity checked can be, as far as its best check knows."""
        found: dict[str, float] = {}
        for row in self.outcome.evidence:
            found[row.quantity] = min(row.bound, found.get(row.quantity, row.bound))
        return found

    # --- evidence ---

    @property
    def verdict(self) -> str:
        """The worst verdict among the checks: "certified", ..., "refuted"."""
        found = worst(self.outcome.evidence)
        return "unchecked" if found is None else found.word

    @property
    def evidence(self) -> pd.DataFrame:
        """One row a check: value, reference, gap, bound, tolerance, verdict, note."""
        import pandas as pd

        names = [entry.name for entry in fields(Evidence)]
        rows = [[getattr(row, name) for name in names] for row in self.outcome.evidence]
        frame = pd.DataFrame(rows, columns=names)
        frame["verdict"] = [row.verdict.word for row in self.outcome.evidence]
        return frame

    def raise_if_refuted(self) -> Result:
        """This result; RefutedError where evidence contradicts one of its numbers."""
        if self.verdict == "refuted":
            rows = [row for row in self.outcome.evidence if row.verdict.word == "refuted"]
            raise RefutedError(
                "; ".join(f"{r.quantity} is {r.value:.6g}, {r.method} says {r.reference:.6g}" for r in rows)
            )
        return self

    # --- frames and figures ---

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """What was logged: "scalars", one row a step; every trajectory and matrix (the last) by name."""
        import pandas as pd

        ranked = {name: column for name, column in self.columns.items() if column.data.ndim == 1}
        scalars = {name: pd.Series(column.data.numpy(), list(column.steps)) for name, column in ranked.items()}
        found = {"scalars": pd.DataFrame(scalars).rename_axis("step")}
        for name, column in self.columns.items():
            if column.data.ndim > 1:
                found[name] = table(column, self.run.labels.get(name, ()))
        return found

    @property
    def figures(self) -> Mapping[str, Any]:
        """The run's pictures by name as matplotlib figures, each drawn when it is asked for."""
        return Figures(self)

    # --- shown ---

    @property
    def _lines(self) -> Iterator[tuple[str, str, str]]:
        shown = True
        for heading, text, style in lines(self.run, self.outcome):
            shown = heading not in PLACE if heading else shown
            if shown:
                yield heading, text, style

    def __repr__(self) -> str:
        return "\n".join(join(heading, text) for heading, text, _ in self._lines)

    def _repr_html_(self) -> str:
        """The answer as a table, and the pictures, for a notebook."""
        (title, _, _), *rest = self._lines
        cell = "<tr><th style='text-align:left;vertical-align:top'>{}</th><td style='text-align:left'>{}</td></tr>"
        rows = "".join(cell.format(html.escape(heading), html.escape(text)) for heading, text, _ in rest)
        pictures = "" if not self.run.config["figures"] else "".join(map(embedded, self.figures.values()))
        return f"<h4>{html.escape(title)}</h4><table>{rows}</table>{pictures}"

    # --- kept ---

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what the command line would have left into ``folder``, which must be new or empty."""
        from calclab.library.folder import write

        return write(replace(self.run, folder=Path(folder)), self.outcome, self.columns, self.files)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return (
            self.run.topic == other.run.topic
            and equal(self.values, other.values)
            and equal({n: c.data for n, c in self.columns.items()}, {n: c.data for n, c in other.columns.items()})
            and [*map(str, self.outcome.evidence)] == [*map(str, other.outcome.evidence)]
        )

    __hash__ = None  # type: ignore[assignment]


class Figures(Mapping[str, Any]):
    """Pictures of a result by name, drawn when asked for."""

    def __init__(self, result: Result) -> None:
        from calclab.sink.figures import FiguresSink

        self._sink = FiguresSink()
        self._sink.open(result.run)
        self._sink.write(result.columns)
        self._names = list(self._sink.panels())

    def __getitem__(self, name: str) -> Any:
        from calclab.figure.draw import figure

        if name not in self._names:
            raise UserError(f"there is no picture {name!r}. There are: {', '.join(self._names) or 'none'}")
        return figure(self._sink.panels()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def embedded(figure: Any) -> str:
    """A figure as an image within HTML."""
    from calclab.figure.canvas import png

    return f"<img style='max-width:100%' src='data:image/png;base64,{base64.b64encode(png(figure)).decode()}'/>"


def plain(value: Any) -> Any:
    """A number as a float, all else as it is."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def table(column: Column, labels: Any) -> pd.DataFrame:
    """A trajectory, one row a step, or the last of a name's matrices."""
    import pandas as pd

    names = [list(axis) if axis else None for axis in labels]
    if column.data.ndim == 2:
        return pd.DataFrame(column.data.numpy(), index=list(column.steps), columns=names[0] if names else None)
    rows, across = names if len(names) == 2 else (None, None)
    return pd.DataFrame(column.data[-1].numpy(), index=rows, columns=across)


def equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two mappings hold the same numbers, bit for bit."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor):
            return isinstance(b, Tensor) and a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
        return bool(a == b or (a != a and b != b))

    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
