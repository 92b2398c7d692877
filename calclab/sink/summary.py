"""The summary at the end of a run: summary.md in its folder, and the same text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from calclab.core import Columns, Evidence, Outcome, Run
from calclab.report.outcome import replace_file
from calclab.report.summary import markdown


class Board(Protocol):
    """Shows text too, such as `TensorBoardSink`."""

    def text(self, tag: str, markdown: str) -> None: ...


class SummarySink:
    """Writes when it is closed, which is before its ``board`` is; a run that could not begin has a summary too."""

    def __init__(self, run: Run, board: Board | None = None) -> None:
        self._run, self._board = run, board

    def open(self, run: Run) -> None:
        """Nothing to say yet."""

    def write(self, columns: Columns) -> None:
        """What was logged last is in the outcome."""

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """In the outcome."""

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, outcome: Outcome) -> None:
        text = markdown(self._run, outcome)
        if self._board is not None:
            self._board.text("summary", text)
        replace_file(self._run.folder / "summary.md", text)
