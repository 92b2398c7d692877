"""TensorBoard: scalars, short trajectories, images, a text summary and the run's hyperparameters, in one event file.

Tags: ``scalars/<name>`` for rank 0, ``<name>/<label>`` for the entries of a trajectory of at most 16 (longer ones and
matrices are in the CSVs, matrices also as heat maps), ``figures/<name>`` for pictures, ``summary`` for a text. Every
step is written; TensorBoard itself shows float32 and thins each tag to about 1,000 points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from calclab.core import Column, Columns, Evidence, Outcome, Run, Status
from calclab.sink.cells import axis
from calclab.sink.eventfile import EventFile, Plain

ENTRIES = 16  # of a trajectory, at most, to be shown as scalars
ASIDE = ("claims", "outputs", "figures", "rerun", "fail_fast", "report", "checkpoint_every", "optimizer.lr")
UNTOLD = {*ASIDE, "function.minima", "function.domain", "function.source"}  # of the configuration, among the knobs
SESSION = {Status.FAILED: "FAILURE", Status.INTERRUPTED: "UNKNOWN"}  # any other end is a result


class TensorBoardSink:
    """See the module's docstring. ``image`` is for whoever draws: call it before ``close``."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._file: EventFile | None = None
        self._step = 0

    def open(self, run: Run) -> None:
        self._run = run
        self._file = EventFile(run.folder)
        if not self._file.fresh:
            return  # a run that goes on
        self._file.session_start({"topic": run.topic, "subject": run.subject, **dict(flatten(run.config))})

    def write(self, columns: Columns) -> None:
        assert self._run is not None, "open comes first"
        assert self._file is not None, "open comes first"
        for steps, members in together(columns):
            tags: list[str] = []
            parts = []
            for name, column in members:
                if column.data.ndim == 1:
                    tags.append(name if "/" in name else f"scalars/{name}")
                    parts.append(column.data[None])
                elif column.data.ndim == 2 and 0 < column.data.shape[1] <= ENTRIES and self._run.steps > 0:
                    tags += [f"{name}/{label}" for label in axis(self._run.labels.get(name), 0, column.data.shape[1])]
                    parts.append(column.data.T)
            if parts:
                self._file.scalars(steps, tags, torch.cat(parts).float().numpy().T)
            self._step = max(self._step, steps[-1])
        self._file.tick()

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """Shown in the summary, when the run has ended."""

    def image(self, tag: str, png: bytes) -> None:
        """Show a PNG at the last step written."""
        assert self._file is not None, "open comes first"
        self._file.image(tag, png, self._step)

    def text(self, tag: str, markdown: str) -> None:
        """Show a text at the last step written; nothing, in a run that could not begin."""
        if self._file is not None:
            self._file.text(tag, markdown, self._step)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self, outcome: Outcome) -> None:
        if self._file is None:
            return
        self._file.session_end(SESSION.get(outcome.status, "SUCCESS"))
        self._file.close()
        self._file = None


def together(columns: Columns) -> list[tuple[Sequence[int], list[tuple[str, Column]]]]:
    """The columns grouped by the steps at which they were logged: one event carries all names of a step.

    Columns that only begin later than the longest are cut with it where they begin; others stand by themselves.
    """
    longest = max((column.steps for column in columns.values()), key=len, default=())
    late: dict[int, list[tuple[str, Column]]] = {}  # by the rows that are missing at the beginning
    others: list[tuple[Sequence[int], list[tuple[str, Column]]]] = []
    for name, column in columns.items():
        missing = len(longest) - len(column.steps)
        if column.steps == longest[missing:]:
            late.setdefault(missing, []).append((name, column))
        elif same := next((members for steps, members in others if steps == column.steps), None):
            same.append((name, column))
        else:
            others.append((column.steps, [(name, column)]))
    groups = []
    for first, stop in itertools.pairwise([*sorted(late), len(longest)]):
        steps = longest[first:stop]
        members = [
            (name, Column(steps, column.data[first - missing : stop - missing]))
            for missing, begun in late.items()
            if missing <= first
            for name, column in begun
        ]
        groups.append((steps, members))
    return [(steps, members) for steps, members in [*groups, *others] if len(steps)]


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """The knobs of a nested configuration as ``group.knob``, without builders, claims and what is unset.

    A topic's knobs stand at the root too, and are told once.
    """
    for key, value in sorted(config.items(), key=lambda item: isinstance(item[1], Mapping)):  # the root's knobs first
        name = f"{prefix}{key}"
        if key.startswith("_") or value is None or name in UNTOLD:
            continue
        if name == "topic" and isinstance(value, Mapping):
            value = {knob: entry for knob, entry in value.items() if knob != "name" and knob not in config}
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield name, str(value)
        elif isinstance(value, bool | int | float | str):
            yield name, value
        else:
            yield name, str(value)
