"""A live progress bar on stderr: steps, rate, time left, and a scalar. Silent where it is not a terminal.

A topic that logs ``products`` is counted by them: how many there will be is not known beforehand.

Where the end is known it shows the time left. It is gone when the run has ended: the answer says the rest.

It draws at most five times a second, from `write`, with no thread of its own, and only once a run has lasted a moment:
a quick run shows no bar at all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from calclab.core import Columns, Evidence, Outcome, Run
from calclab.report.numbers import number

QUIET_SECONDS = 0.3
PERIOD = 0.2
WIDTH = 79  # characters, at most
FAVOURITES = ("loss", "residual", "trace_error", "value")  # shown in this order of preference, else the first scalar
COUNTED = "products"


class ProgressSink:
    """See the module's docstring."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._run: Run | None = None
        self._bar: Any = None
        self._task: Any = None
        self._due = self._began = 0.0

    def open(self, run: Run) -> None:
        self._run = run
        self._began = time.perf_counter()
        self._due = self._began + QUIET_SECONDS

    def write(self, columns: Columns) -> None:
        now = time.perf_counter()
        if not self._live or now < self._due or self._run is None or not columns:
            return
        self._due = now + PERIOD
        bar = self._bar if self._bar is not None else self._start(self._run, columns)
        counted = columns.get(COUNTED)
        if counted is None:
            count = 1 + max(column.steps[-1] for column in columns.values() if len(column.steps))
        else:
            count = int(counted.data[-1])
        rate = f"{number(count / (now - self._began), 3)}/s"
        bar.update(self._task, completed=count, now=current(columns), rate=rate)
        bar.refresh()

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """Shown at the end, not in the bar."""

    def flush(self) -> None:
        """Drawn already."""

    def close(self, outcome: Outcome) -> None:
        if self._bar is not None:
            if COUNTED not in outcome.last:
                self._bar.update(self._task, completed=outcome.steps + 1)
            self._bar.stop()
            self._bar = None

    def _start(self, run: Run, columns: Columns) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        console = Console(file=self._stream)
        console.width = min(console.width, WIDTH)  # a line that fits a narrower window leaves no ghost when it narrows
        total = None if COUNTED in columns else run.steps + 1
        known = [TimeRemainingColumn()] if total is not None else []
        parts = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            *([BarColumn(bar_width=16)] if known else []),
            MofNCompleteColumn() if known else TextColumn("{task.completed} products"),
            TextColumn("{task.fields[rate]}"),
            *known,
            TextColumn("{task.fields[now]}", table_column=Column(no_wrap=True)),
        )
        self._bar = Progress(*parts, console=console, auto_refresh=False, transient=True, expand=True)
        self._task = self._bar.add_task(run.title, total=total, now="", rate="")
        self._bar.start()
        return self._bar


def current(columns: Columns) -> str:
    """``loss 0.0123``: the last number of the favourite scalar of a block; empty without scalars."""
    every = {name: column for name, column in columns.items() if column.data.ndim == 1 and len(column.steps)}
    scalars = {name: column for name, column in every.items() if name not in (COUNTED, "stage")}
    name = next((name for name in (*FAVOURITES, *scalars) if name in scalars), None)
    return "" if name is None else f"{name} {number(float(scalars[name].data[-1]), 4)}"
