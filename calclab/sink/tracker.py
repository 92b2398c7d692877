"""A run in an experiment tracker: what is told there and under which names, as it goes on or from its folder.

Knobs are parameters, each scalar of each step is a metric, the numbers of the answer are metrics of the last step, the
headline a tag, the evidence a table, the folder's files are kept with it. `TrackerSink` tells them while a run goes on,
`put` at once; both read scalars as scalars.csv has them and all else in the run's record, so that the same names and
numbers arrive. The trackers themselves are in `mlflow` and `wandb`.

The id that a tracker has given a run is kept in the run's folder: a run that goes on goes on there, too.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calclab.archive.folder import own
from calclab.archive.run import LOST, RESULTS, Run
from calclab.archive.trackers import KEPT, Told, keep, kept
from calclab.core import HISTOGRAM, Columns, Evidence, Outcome
from calclab.core import Run as Described
from calclab.report.page import answer
from calclab.sink.cells import texts
from calclab.sink.csv import SCALARS
from calclab.text import command, of_cell, shortened, warn

PROJECT = "calclab"
DIGEST = "calclab.digest"  # the tag by which a run is found again
ENDED = (*RESULTS, *LOST)  # how a run ends that is not gone on with
EVERY = 2.0  # seconds between two sendings
LONG = 300  # characters of what a tracker said went wrong
USERINFO = re.compile(r"(?<=://)[^/@\s]+@")  # of a URI: a name and a password
WORDS = {"True": 1.0, "False": 0.0}
Courses = Mapping[str, tuple[Sequence[int], Sequence[float]]]  # steps and values of scalars, by name


@dataclass(frozen=True)
class Entry:
    """What a tracker is told of a run at its beginning: ``begun`` in milliseconds since 1970, ``sweep`` the folder of
    the sweep of which it is a job. Of a run anew the digest goes on with its beginning: it is another run there."""

    name: str
    digest: str
    topic: str
    knobs: Mapping[str, Any]
    command: str
    begun: int
    sweep: Path | None = None


class Tracker(Protocol):
    """A place of runs. Its methods raise whatever its library does."""

    name: str

    def open(self) -> None:
        """UserError where the place cannot be used."""

    def there(self, entry: Entry, run: Run) -> str:
        """Where all of the run is already; empty where it is not."""

    def begin(self, entry: Entry, known: str) -> str:
        """Begin a run, or go on with the one of id ``known``; its id."""

    def log(self, courses: Courses) -> None:
        """Take what is not there yet."""

    def end(self, run: Run, last: Mapping[str, float]) -> str:
        """End it with what its folder holds; ``last`` are the numbers of its answer that no step has. Where it is."""

    def end_sweep(self, folder: Path, sentence: str, stopped: bool) -> None:
        """No more jobs of a sweep are told; it has come to its end, unless it was ``stopped``."""


class TrackerSink:
    """Tells a tracker of a run while it goes on. What goes wrong there is a warning, once, and the run goes on.

    Nothing is told before the first block, so that a run that is refused leaves nothing. ``run`` is as its record tells
    it; `end` comes when that is written.
    """

    def __init__(self, tracker: Tracker, run: Run, sweep: Path | None) -> None:
        self._tracker, self._entry = tracker, entry(run, sweep)
        self._folder = self._place = run.folder
        self._waiting: list[Courses] = []
        self._sent = -math.inf
        self._id = ""
        self._lost = False

    def open(self, run: Described) -> None:
        self._folder = run.folder
        if (run.folder / f"{SCALARS}.csv").is_file():  # a run that goes on, perhaps begun without a tracker
            self._waiting.append(logged(run.folder))

    def write(self, columns: Columns) -> None:
        self._waiting.append(courses(columns))
        if time.monotonic() - self._sent >= EVERY:
            self._guarded(self._send)
            self._sent = time.monotonic()

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """Told at the end, as a table."""

    def flush(self) -> None:
        """A tracker is told every few seconds."""

    def close(self, outcome: Outcome) -> None:
        """Files are written until the record is: see `end`."""

    def end(self, run: Run) -> None:
        """Tell what is left of a run that has ended, from its folder."""
        self._folder = run.folder

        def rest() -> None:
            self._send()
            conclude(self._tracker, run)
            keep(run.folder, self._tracker.name, Told(self._id, run.status in ENDED))

        self._guarded(rest)

    def _send(self) -> None:
        if not self._id:
            self._id = self._tracker.begin(self._entry, kept(self._folder).get(self._tracker.name, Told()).run)
            keep(self._folder, self._tracker.name, Told(self._id))
        for part in self._waiting:
            self._tracker.log(part)
        self._waiting.clear()

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            action()
        except Exception as error:
            self._lost = True
            self._waiting.clear()
            later = command(["python", "-m", "calclab", "export", self._tracker.name, str(self._place)])
            warn(f"{self._tracker.name} takes no more of this run ({reason(error)}). The run itself goes on; then type "
                 f"{later}")  # fmt: skip


def put(tracker: Tracker, run: Run, sweep: Path | None = None) -> str:
    """All of a run that is not computed now, from its folder; where it is."""
    told = entry(run, sweep)
    if where := tracker.there(told, run):
        return f"is in {where} already"
    tracker.begin(told, kept(run.folder).get(tracker.name, Told()).run)
    tracker.log(logged(run.folder))
    return conclude(tracker, run)


def conclude(tracker: Tracker, run: Run) -> str:
    """End a run of which every step is told; of one that may go on, no last values."""
    return tracker.end(run, lasting(run, logged(run.folder)) if run.status in ENDED else {})


# --- what is told ---


def entry(run: Run, sweep: Path | None) -> Entry:
    """What is told of a run at its beginning."""
    made = run.outcome.get("provenance") or {}
    began = made.get("started")
    begun = int(1000 * (datetime.fromisoformat(began).timestamp() if began else time.time()))
    digest = str(run.digest or run.folder.name) + (f"-{begun:x}" if run.config.get("rerun") else "")
    topic, words = str(run.outcome.get("topic") or run.topic), str(made.get("command", ""))
    return Entry(run.folder.name, digest, topic, run.knobs, words, begun, sweep)


def courses(columns: Columns) -> Courses:
    """The scalars among columns, each number as scalars.csv has it."""
    return {
        name: (column.steps, numbers(texts(column.data)))
        for name, column in columns.items()
        if column.data.ndim == 1 and not name.startswith(HISTOGRAM) and len(column.steps)
    }


def logged(folder: Path) -> Courses:
    """The scalars that a run's folder holds; a cell that is empty was not logged."""
    path = folder / f"{SCALARS}.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    found = {}
    for i, name in enumerate(header[1:], 1):
        told = [row for row in rows if row[i]]
        if told:
            found[of_cell(name)] = ([int(row[0]) for row in told], numbers([row[i] for row in told]))
    return found


def numbers(cells: Sequence[str]) -> list[float]:
    """Cells as numbers: a truth is 1 or 0."""
    try:
        return np.array(cells, dtype=np.float64).tolist()
    except ValueError:
        return [WORDS[cell] if cell in WORDS else float(cell) for cell in cells]


def lasting(run: Run, found: Courses) -> dict[str, float]:
    """The finite numbers of the answer and of the last step that are no course."""
    return {
        name: float(value)
        for name, value in run.values.items()
        if name not in found and isinstance(value, int | float) and math.isfinite(value)
    }


def headline(run: Run) -> str:
    """The answer's first line; of a run without an answer how it ended."""
    return answer(run.outcome)[0] or str(run.outcome.get("sentence") or run.status)


def files(run: Run) -> Iterator[Path]:
    """The lab's own files in a run's folder, but for those that only its going on needs."""
    mine = own(run.folder)
    for path in sorted(run.folder.iterdir()):
        if path.is_file() and mine(path.name) and path.name not in (KEPT, "checkpoint.pt"):
            yield path


def evidence(run: Run) -> tuple[list[str], list[list[str | float]]]:
    """The names and rows of verify.csv."""
    path = run.folder / "verify.csv"
    if not path.is_file():
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, [[plain(of_cell(cell)) for cell in row] for row in rows]


def plain(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def reason(error: Exception) -> str:
    """What went wrong, in a line without the passwords of a URI."""
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return shortened(USERINFO.sub("", first), LONG)
