"""What a question gives: numbers by name with their bounds, the evidence, frames, figures, and a folder on request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from calclab.core import Column, Columns, Evidence, Outcome, Run
from calclab.errors import UserError
from calclab.library import display
from calclab.library.bounds import Bound, bounds
from calclab.library.figures import Figures
from calclab.report.outcome import json_value as written
from calclab.report.outcome import worst

if TYPE_CHECKING:
    import pandas as pd

WALKS = ("descent", "comparison")  # topics whose answer is about the last step


class RefutedError(Exception):
    """Independent evidence contradicts a number."""


class Interrupted(KeyboardInterrupt):
    """A question was interrupted: ``result`` is what it had found by then, and `last` gives it, too."""

    def __init__(self, result: Result) -> None:
        outcome = result.outcome
        super().__init__(
            f"{result.run.title} was interrupted after step {outcome.steps}: what was found by then is in "
            "calclab.last(), or in this exception's .result"
        )
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return Interrupted, (self.result,)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The answer to a question, with what it rests on.

    Every value of the answer is an attribute by its name, or an item: a number as ``float``, a vector or matrix as a
    tensor, a word as text. ``columns`` are what was logged, ``files`` what the topic left for other runs. A result
    holds no model, and can be pickled, compared and saved.
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
        if name.startswith("_") or "outcome" not in self.__dict__:
            raise AttributeError(name)
        if name not in self.values:
            raise AttributeError(self._missing(name))
        return self.values[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise KeyError(self._missing(name))
        return self.values[name]

    def _missing(self, name: str) -> str:
        """What to say of a name that is not there."""
        close = get_close_matches(name, self.values, 3, 0.5) or list(self.values)[:12]
        return f"this result has no {name!r}. It has {', '.join(close) or 'no numbers'}{'; see .numbers' * bool(close)}"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *filter(str.isidentifier, self.values)]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.values)

    @property
    def headline(self) -> str:
        """The answer in a line."""
        return "" if self.outcome.answer is None else self.outcome.answer.headline

    @property
    def sentence(self) -> str:
        """The answer in words, all of its lines in one."""
        return "" if self.outcome.answer is None else self.outcome.answer.sentence

    @cached_property
    def _bounds(self) -> dict[str, Bound]:
        answer, rows = self.outcome.answer, self.outcome.evidence
        walks, points = self.run.topic in WALKS, self.run.topic == "jacobian" and self.outcome.steps > 0
        here = [row for row in rows if not points and (not walks or row.step == self.outcome.steps)]
        return {} if answer is None else bounds(answer.values, here)

    @property
    def bounds(self) -> dict[str, float | Tensor]:
        """How far from the truth each number of the answer can be, entry by entry; infinite where that is not known.

        What kind of bound it is, `numbers` says: few are proofs.
        """
        return {name: found.size for name, found in self._bounds.items()}

    @property
    def numbers(self) -> pd.DataFrame:
        """The answer as a table: a row a number or word, with its bound (of a vector the largest), and how that is
        known."""
        import pandas as pd

        rows = [
            (name, self.values[name] if isinstance(self.values[name], float | int) else shown, size, by)
            for name, shown, size, by in display.rows(self.outcome, self._bounds)
        ]
        table = pd.DataFrame(rows, columns=["number", "value", "bound", "by"]).set_index("number")
        return table.assign(bound=pd.to_numeric(table["bound"]))

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

    @cached_property
    def figures(self) -> Figures:
        """The run's pictures by name as matplotlib figures, each drawn when it is asked for."""
        return Figures(self.run, self.columns, () if self.outcome.answer is None else self.outcome.answer.latex)

    # --- shown ---

    def __repr__(self) -> str:
        return display.text(self.run, self.outcome, self._bounds)

    def _repr_html_(self) -> str:
        pictures = self.figures._repr_html_() if self.run.config["figures"] else ""
        return display.page(self.run, self.outcome, self._bounds, pictures)

    # --- kept ---

    def __getstate__(self) -> dict[str, Any]:
        """Without the model that pictures may still have to ask: they are made into plain numbers first."""
        run = replace(self.run, pictures=self.figures.drawn(), config=written(self.run.config))
        return {"run": run, "outcome": self.outcome, "columns": self.columns, "files": self.files}

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


_last: list[Result] = []


def keep(result: Result) -> Result:
    """Remember the result as the last one."""
    _last[:] = [result]
    return result


def last() -> Result:
    """The result of the last question asked in this process, also of one that was interrupted.

    Raises UserError where there is none.
    """
    if not _last:
        raise UserError("no question has been asked yet. Ask one: calclab.derivative(calclab.formula('x**2', at=3))")
    return _last[0]


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
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            alike = a.dtype == b.dtype and a.shape == b.shape
            return alike and bool(((a == b) | ((a != a) & (b != b))).all())
        return bool(a == b or (a != a and b != b))

    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
