"""The list of a run's own files, see `archive.own`: each name is put on it before the file is made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from calclab.archive import own
from calclab.core import Columns, Evidence, Outcome, Run, State, Topic
from calclab.sink.csv import filename
from calclab.text import warn

FORMULA = "formula"  # a picture that a run may have besides its own


class Ledger:
    """A sink that comes before the others, and lists the files that they will make."""

    def __init__(self) -> None:
        self._folder = Path()
        self._known: set[str] = set()

    def open(self, run: Run) -> None:
        self._folder = run.folder
        self._known = set(own.listed(run.folder) or ())
        names = [picture.name for picture in run.pictures] + [FORMULA] if run.config["figures"] else []
        self.name(f"{filename(name)}.png" for name in names)
        if not (run.folder / own.LIST).is_file():
            own.put(run.folder, ())

    def write(self, columns: Columns) -> None:
        ranks = {name: column.data.ndim for name, column in columns.items() if column.data.ndim > 1}
        self.name(
            f"{filename(name)}{ending}"
            for name, rank in ranks.items()
            for ending in ((".csv",) if rank == 2 else (".#.csv", ".#.parquet"))
        )

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """verify.csv is always the lab's."""

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, outcome: Outcome) -> None:
        """The list stays with the files."""

    def name(self, names: Iterable[str]) -> None:
        """Put on the list what is not there yet."""
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        if new:
            tell_moved(self._folder, own.add(self._folder, new))
            self._known.update(new)

    def leave(self, topic: Topic, state: State) -> None:
        """What the topic leaves; whose names are known when it has."""
        aside = self._folder / own.LEAVING
        aside.mkdir(exist_ok=True)
        topic.leave(state, aside)
        left = sorted(os.listdir(aside))
        self.name(left)
        for name in left:
            os.replace(aside / name, self._folder / name)
        aside.rmdir()


def tell_moved(folder: Path, moved: Iterable[tuple[str, str]]) -> None:
    """Say what has made way for the run's own files."""
    for name, other in moved:
        warn(f"{folder / name} is not of this run, and is now called {other}")
