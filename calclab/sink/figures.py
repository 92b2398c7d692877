"""Draws the pictures a topic asks for, when the run has ended: files in its folder, and images in TensorBoard.

Only what the pictures need is kept: trajectories thinned to at most 2,000 points, of many variables to 300 (the first
and the last are always among them); of vectors and matrices for bars and heat maps the last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from calclab.core import Column, Columns, Evidence, Outcome, Picture, Run
from calclab.sink.csv import filename

if TYPE_CHECKING:
    from calclab.figure.records import GraphPanel, Panel


WALKS = ("walk", "path")  # pictures that can move


class Gallery(Protocol):
    """Shows images elsewhere too, such as `TensorBoardSink`."""

    def image(self, name: str, png: bytes) -> None: ...

    def graph(self, nodes: Sequence[tuple[str, str, Sequence[str], Mapping[str, str]]]) -> None: ...


class FiguresSink:
    """See the module's docstring. This sink is closed before its ``gallery`` is."""

    remembers = True  # is told again what was logged before a run went on

    def __init__(
        self,
        gallery: Gallery | None = None,
        announce: Callable[[Sequence[str]], None] = lambda names: None,
        format: str = "png",
    ) -> None:
        self._announce = announce
        self._format = format
        self._gallery = gallery
        self._run: Run | None = None
        self._tracks: dict[str, Track] = {}

    def open(self, run: Run) -> None:
        from calclab.figure.kinds import points

        self._run = run
        for picture in run.pictures:
            for name in picture.shows:
                track = self._tracks.setdefault(name, Track())
                track.points = max(points(picture), track.points)

    def write(self, columns: Columns) -> None:
        for name, track in self._tracks.items():
            if name in columns:
                track.add(columns[name])

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """Not drawn."""

    def flush(self) -> None:
        """Pictures are drawn at the end."""

    def close(self, outcome: Outcome) -> None:
        if self._run is None:
            return
        from calclab.figure.draw.formula import draw_formulas
        from calclab.figure.kinds import figure
        from calclab.figure.records import GraphPanel

        run = self._run
        latex = [*run.latex, *(outcome.answer.latex if outcome.answer else ())]
        if latex:
            self._show("formula", lambda: draw_formulas(latex))
        moving = bool(run.config.get("animation"))
        for picture in run.pictures:

            def drawn(picture: Picture = picture) -> Any:
                record = self.record(picture)
                if isinstance(record, GraphPanel) and self._gallery is not None:
                    self._gallery.graph(board_nodes(record))
                return None if record is None else figure(record)

            self._show(picture.name, drawn)
            if moving and picture.name in WALKS:
                self._move(picture.name, drawn)

    def _move(self, name: str, drawn: Callable[[], Any]) -> None:
        """A walk as a GIF beside its picture; one that cannot be drawn is a warning too."""
        from calclab.figure.draw.animation import gif

        assert self._run is not None, "open comes first"
        try:
            figure = drawn()
            made = None if figure is None else gif(figure)
        except Exception as error:
            warnings.warn(f"{name} could not be animated: {type(error).__name__}: {error}", stacklevel=2)
            return
        if made is not None:
            self._announce([f"{name}.gif"])
            (self._run.folder / f"{name}.gif").write_bytes(made)

    def record(self, picture: Picture) -> Panel | None:
        """What is to be seen in a picture of what has been written so far; None where nothing is."""
        from calclab.figure.kinds import panel

        assert self._run is not None, "open comes first"
        kept = {name: track.column() for name, track in self._tracks.items()}
        columns = {name: column for name, column in kept.items() if column is not None}
        return panel(picture, columns, self._run.labels, self._run.title, about(self._run))

    def _show(self, name: str, drawn: Callable[[], Any]) -> None:
        """A picture that cannot be drawn must not take the numbers with it: it is a warning."""
        from calclab.figure.kinds import written

        assert self._run is not None, "open comes first"
        made: dict[str, bytes] = {}
        try:
            figure = drawn()
            if figure is not None:
                for format in {self._format, *(["png"] if self._gallery is not None else [])}:
                    made[format] = written(figure, format)
        except Exception as error:
            warnings.warn(f"the picture {name!r} could not be drawn: {type(error).__name__}: {error}", stacklevel=2)
            return
        if not made:
            return
        file = f"{filename(name)}.{self._format}"
        self._announce([file])
        (self._run.folder / file).write_bytes(made[self._format])
        if self._gallery is not None:
            self._gallery.image(name, made["png"])


def board_nodes(panel: GraphPanel) -> list[tuple[str, str, list[str], dict[str, str]]]:
    """A graph for TensorBoard: there a dot in a name is one of a scope, and numbers stand beside a node."""
    value, back = ("‖output‖", "‖∂loss/∂output‖") if panel.norms else ("value", "adjoint")
    names = [joint.name.replace(".", "/") for joint in panel.joints]
    found = []
    for k, joint in enumerate(panel.joints):
        into = [edge for edge in panel.edges if edge.head == k]
        beside = {value: f"{joint.value:.6g}", back: f"{joint.adjoint:.6g}"}
        beside |= {f"{names[edge.tail]}: local derivative": f"{edge.local:.6g}" for edge in into}
        beside = {key: text for key, text in beside.items() if text != "nan"}
        found.append((names[k], joint.text or "input", [names[edge.tail] for edge in into], beside))
    return found


def about(run: Run) -> str:
    """What stands under the titles: the formula, and what else there is to say."""
    formulas = [f"${text}$" for text in run.latex[:1]]
    return "\n".join(filter(None, (*formulas, run.about)))


class Track:
    """At most ``points`` (and the last) of the values of one name, evenly spaced in the order they came."""

    def __init__(self) -> None:
        self.points = 1
        self.steps: list[int] = []
        self._data: Tensor | None = None
        self._stride, self._seen = 1, 0
        self._last: Column | None = None

    def add(self, column: Column) -> None:
        count = len(column.steps)
        if not count:
            return
        self._last = Column(column.steps[-1:], column.data[-1:].clone())
        if self.points == 1:
            return
        first = -self._seen % self._stride  # of this block, so that all kept are multiples of the stride
        self._seen += count
        kept = column.data[first :: self._stride]
        self.steps += column.steps[first :: self._stride]
        self._data = kept.clone() if self._data is None else torch.cat([self._data, kept])
        while len(self.steps) > self.points:
            self.steps, self._data, self._stride = self.steps[::2], self._data[::2], 2 * self._stride

    def column(self) -> Column | None:
        """What was kept, and the last value; None where nothing was logged."""
        if self._last is None or self._data is None or self.steps[-1] == self._last.steps[-1]:
            return self._last if self._data is None else Column(self.steps, self._data)
        return Column([*self.steps, *self._last.steps], torch.cat([self._data, self._last.data]))
