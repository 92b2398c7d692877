"""A run: what is known of it before it starts and after it ended, and who writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from calclab.core.answer import Answer, Claim, Status
from calclab.core.evidence import Evidence
from calclab.core.picture import Picture
from calclab.core.values import Columns, Labels, Values


@dataclass(frozen=True)
class Run:
    """What a sink may know of a run before it starts; ``config`` is plain: dicts, lists, scalars.

    ``choices`` are the options that were chosen in the groups of the configuration, ``swept`` the knobs that the sweep
    varies of which the run is a job.
    """

    topic: str
    subject: str
    title: str
    folder: Path
    steps: int
    labels: Labels
    pictures: Sequence[Picture]
    config: Mapping[str, Any]
    latex: Sequence[str] = ()
    about: str = ""  # the point, or network and data; the method: a line under the titles of pictures
    choices: Mapping[str, str] = field(default_factory=dict)
    swept: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``steps`` is the last k; ``last`` the last value of each scalar and row of each trajectory."""

    status: Status
    steps: int
    seconds: float
    last: Values
    answer: Answer | None = None
    evidence: Sequence[Evidence] = ()
    claims: Sequence[Claim] = ()
    error: str = ""
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Sink(Protocol):
    """Writes what comes out of a scan. A sink sees columns, never single numbers, and is closed whatever happens."""

    def open(self, run: Run) -> None: ...

    def write(self, columns: Columns) -> None: ...

    def evidence(self, rows: Sequence[Evidence]) -> None: ...

    def flush(self) -> None: ...

    def close(self, outcome: Outcome) -> None: ...
