"""TensorBoard: curves in groups, charts of them, images, a page to read, and hyperparameters, all in one event file.

What is shown under which tag is told in `board`, the hyperparameters in `hyperparameters`; long trajectories and
matrices are in the CSVs. Every step is written; TensorBoard itself shows float32 and thins each tag to about 1,000
points.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from calclab.core import HISTOGRAM, Column, Columns, Evidence, Outcome, Run, Status
from calclab.sink import board
from calclab.sink.cells import axis
from calclab.sink.eventfile import EventFile
from calclab.sink.hyperparameters import hyperparameters

ENTRIES = 16  # of a trajectory, at most, to be shown as scalars
SESSION = {Status.FAILED: "FAILURE", Status.INTERRUPTED: "UNKNOWN"}  # any other end is a result


class TensorBoardSink:
    """See the module's docstring. ``image`` is for whoever draws: call it before ``close``."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._file: EventFile | None = None
        self._step = 0
        self._tags: dict[str, None] = {}  # that were written
        self._images: list[str] = []
        self._first: float | None = None  # of the gradient norm, from which theory's line starts

    def open(self, run: Run) -> None:
        self._run = run
        self._file = EventFile(run.folder)
        self._plain = self._file.fresh or not self._file.laid_out  # without a layout, yet
        if self._file.fresh:
            self._file.session_start(hyperparameters(run))
        else:
            self._first = board.first_of(run, "gradient_norm")

    def write(self, columns: Columns) -> None:
        assert self._run is not None, "open comes first"
        assert self._file is not None, "open comes first"
        for steps, members in together(self._lines(columns)):
            tags = [tag for tag, _ in members]
            values = torch.stack([column.data for _, column in members], 1)
            self._file.scalars(steps, tags, values.float().numpy())
            self._step = max(self._step, steps[-1])
            self._tags.update(dict.fromkeys(tags))
        for tag, own, row in board.margins(self._run, columns):
            self._file.scalars(own, [tag], row.float().numpy()[:, None])
            self._tags[tag] = None
        for name, column in columns.items():
            if name.startswith(HISTOGRAM):
                for k, bins in zip(column.steps, column.data, strict=True):
                    self._file.histogram(name.removeprefix(HISTOGRAM), bins.numpy(), k)
                self._tags[name.removeprefix(HISTOGRAM)] = None
        if self._plain and self._tags:
            self._plain = False
            charts = {chart.title: (chart.tags, chart.margins) for chart in board.layout(self._run, [*self._tags])}
            if charts:
                self._file.layout(charts, self._run.topic)
        self._file.tick()

    def _lines(self, columns: Columns) -> dict[str, Column]:
        """What of the columns is a line, by its tag; and theory's lines, which follow from them."""
        assert self._run is not None, "open comes first"
        lines: dict[str, Column] = {}
        for name, column in columns.items():
            tag, data = board.tag_of(self._run, name), column.data
            if tag and data.ndim == 1:
                lines[tag] = column
            elif tag and data.ndim == 2 and data.shape[1] <= ENTRIES:
                labels = axis(self._run.labels.get(name), 0, data.shape[1])
                lines |= {f"{tag}/{label}": Column(column.steps, data[:, i]) for i, label in enumerate(labels)}
        if "edge" in columns:  # the sharpness times lr/2
            looked, edge = columns["sharpness"], columns["edge"].data
            lines[board.LIMIT] = Column(looked.steps, looked.data / edge)
        if "predicted_contraction" in columns:
            norm, rate = columns["gradient_norm"], columns["predicted_contraction"].data
            if self._first is None and len(norm.steps):
                self._first = float(norm.data[0])
            k = torch.as_tensor(norm.steps, dtype=rate.dtype)
            lines[board.THEORY] = Column(norm.steps, (self._first or 0.0) * rate**k)
        return lines

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """Shown in the summary, when the run has ended."""

    def image(self, name: str, png: bytes) -> None:
        """Show a PNG at the last step written, in the order of the calls; of many the first."""
        assert self._file is not None, "open comes first"
        self._images.append(name)
        if len(self._images) <= board.IMAGES:
            number = 0 if name == "formula" else len(self._images) - ("formula" in self._images)
            self._file.image(f"pictures/{number} {board.said(name)}", png, self._step)

    def graph(self, nodes: Sequence[tuple[str, str, Sequence[str], Mapping[str, str]]]) -> None:
        """Show the graph of a computation: see `EventFile.graph`."""
        assert self._file is not None, "open comes first"
        self._file.graph(nodes)

    def text(self, tag: str, markdown: str) -> None:
        """Show a text at the last step written, and how to read what is in the other tabs; nothing, in a run that could
        not begin."""
        if self._file is not None and self._run is not None:
            self._file.text(tag, f"{markdown}\n{board.reading(self._run, [*self._tags], self._images)}", self._step)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self, outcome: Outcome) -> None:
        if self._file is None or self._run is None:
            return
        if outcome.status is not Status.INTERRUPTED:
            numbers = dict(board.metrics(self._run, outcome))
            self._file.scalars([max(outcome.steps, 0)], [*numbers], np.array([[*numbers.values()]], dtype=np.float32))
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
