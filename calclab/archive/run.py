"""One run as its folder tells it: what was asked, how it ended, and its frames, each read when it is asked for.

A folder may be half written or broken: such a run has the status "unreadable", and nothing raises before a frame that
is not there is asked for. Three kinds of names describe a run: its *facts* (below), the *values* of its answer and of
its last step (numbers and words), and its *knobs*, the resolved configuration by dotted key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.disk import used
from calclab.archive.folder import read_record
from calclab.archive.lock import computing, lock_file

if TYPE_CHECKING:
    import pandas as pd

FACTS = (
    "topic", "subject", "status", "steps", "seconds", "verdict", "checks", "started", "exit", "error", "host",
    "digest", "folder", "size",
)  # fmt: skip
DIGEST = re.compile(r"(?:^|-)([0-9a-f]{12})$")  # at the end of a folder's name
UNREADABLE = "unreadable"
RESULTS = ("completed", "converged")  # how a run ends that answers
LOST = ("diverged", "nonfinite")  # ... and one that ran away, which is a result too
NONFINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}  # as outcome.json writes them


class Run:
    """A run of outputs/<topic>/<run>/. ``record`` is what outcome.json says, None where that cannot be read."""

    def __init__(self, folder: Path, record: Mapping[str, Any] | None) -> None:
        self.folder = folder
        self.record = record if record is not None and isinstance(record.get("status"), str) else None
        self.outcome: dict[str, Any] = dict(record or {})

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self.status}>"

    # --- facts, values, knobs

    @property
    def topic(self) -> str:
        return self.folder.parent.name

    @property
    def digest(self) -> str | None:
        """By the folder's name, which is what a run is found by; of an old run by its record."""
        named = DIGEST.search(self.folder.name)
        return named[1] if named else word(self.outcome.get("digest"))

    @cached_property
    def status(self) -> str:
        """As recorded; but a run that says "running" and that nobody computes was killed: "interrupted"."""
        if self.record is None:
            return UNREADABLE
        status = self.record["status"]
        if status != "running":
            return status
        path = lock_file(self.folder.parent.parent, self.topic, self.digest or "")
        return "running" if computing(path, self.record) else "interrupted"

    @cached_property
    def size(self) -> int:
        """What the folder takes on the disk, in bytes."""
        return used(self.folder)

    def fact(self, name: str) -> Any:
        """One of FACTS; None where it is not known."""
        if name in ("topic", "status", "digest", "size"):
            return getattr(self, name)
        if name == "folder":
            return str(self.folder)
        if name in ("verdict", "checks"):
            return part(self.outcome, "evidence").get(name)
        if name == "started":
            return word(part(self.outcome, "provenance").get(name))
        found = self.outcome.get(name)
        if name == "host":
            found = found or part(self.outcome, "provenance").get(name)
        return None if isinstance(found, list | dict) else found

    @cached_property
    def values(self) -> dict[str, Any]:
        """Numbers and words of the last step and of the answer, by name; vectors are in the frames."""
        named = {**part(self.outcome, "last"), **part(part(self.outcome, "answer"), "values")}
        return {
            name: NONFINITE.get(value, value) if isinstance(value, str) else value
            for name, value in named.items()
            if not isinstance(value, list | dict)
        }

    @property
    def objective(self) -> tuple[str, float] | None:
        """The first number of the answer and its name: what a sweep is sorted by, and a search minimises."""
        return first_number(part(part(self.outcome, "answer"), "values"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty where it cannot be read."""
        held = self.outcome.get("config")
        return held if isinstance(held, dict) else read_yaml(self.folder / "config.yaml")

    @cached_property
    def knobs(self) -> dict[str, Any]:
        """The configuration by dotted key, and the option chosen in each group where that was recorded."""
        return {**dict(flat(self.config)), **part(self.outcome, "choices")}

    # --- frames

    @property
    def names(self) -> dict[str, list[str]]:
        """What there is to read: the columns of ``scalars``, the names of trajectories, matrices, tables, pictures."""
        from calclab.archive import frames

        return frames.names(self.folder)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All of them by name: "scalars", trajectories, matrices (the last step's) and tables."""
        found = {"scalars": self.scalars}
        found |= {name: self.trajectory(name) for name in self.names["trajectories"]}
        found |= {name: self.matrix(name) for name in self.names["matrices"]}
        return found | {name: self.table(name) for name in self.names["tables"]}

    @property
    def scalars(self) -> pd.DataFrame:
        """Every value of rank 0, one row a step (the index)."""
        from calclab.archive import frames

        return frames.scalars(self.folder)

    @property
    def verify(self) -> pd.DataFrame:
        """The evidence: one row a check."""
        from calclab.archive import frames

        return frames.verify(self.folder)

    def trajectory(self, name: str) -> pd.DataFrame:
        """A value of rank 1: one row a step (the index), one column an entry."""
        from calclab.archive import frames

        return frames.trajectory(self.folder, name)

    def matrix(self, name: str, step: int | None = None) -> pd.DataFrame:
        """A value of rank 2 at ``step`` (default: the last at which it was written), with the names of its axes."""
        from calclab.archive import frames

        return frames.matrix(self.folder, name, step)

    def table(self, name: str = "table") -> pd.DataFrame:
        """A tidy table that the topic has left, one line an observation; a cell without a number is NaN."""
        from calclab.archive import frames

        return frames.table(self.folder, name)

    def steps(self, name: str) -> list[int]:
        """The steps at which the matrix ``name`` was written."""
        from calclab.archive import frames

        return frames.steps(self.folder, name)


def read_run(folder: Path) -> Run:
    """The run of a folder, whatever state that is in."""
    return Run(folder, read_record(folder))


def read_yaml(path: Path) -> dict[str, Any]:
    """A plain YAML file; empty where it cannot be read."""
    if not path.is_file():
        return {}
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is many times as quick
    try:
        found = yaml.load(path.read_bytes(), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def first_number(values: Mapping[str, Any]) -> tuple[str, float] | None:
    """The first of an answer's values that is a number, finite or not, and its name."""
    for name, value in values.items():
        value = NONFINITE.get(value, value) if isinstance(value, str) else value
        if isinstance(value, int | float):
            return name, float(value)
    return None


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts by dotted key; lists are leaves."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def part(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The dict of that name; empty where there is none."""
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def word(value: object) -> str | None:
    return value if isinstance(value, str) else None
