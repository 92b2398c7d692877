"""The pictures of a run that is over, read back from its folder as the records that they were drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calclab import core
from calclab.archive import frames
from calclab.archive.run import Run
from calclab.core import Guide, Picture
from calclab.errors import UserError
from calclab.figure.records import BarsPanel, HeatmapPanel, Panel
from calclab.sink.figures import FiguresSink
from calclab.sink.recorded import matrix_files, read, recorded
from calclab.text import of_cell

KINDS = ("Curves", "Tracks", "Bars", "Heatmap", "Spread")  # that are made of what was logged alone
WRITTEN = 12  # bars, rows or columns up to which all numbers stand in the static picture
CELLS = 2500  # of a heat map, at most


def plots(run: Run) -> tuple[dict[str, str], list[str]]:
    """HTML for every picture that can be drawn to be asked, by the stem of its file, and scripts; UserError without
    Bokeh."""
    try:
        from calclab.figure.interactive import plots as drawn

        return drawn({frames.stem(name): panel for name, panel in panels(run)})
    except ImportError:
        raise UserError(
            "interactive pictures are drawn by Bokeh, which is an extra: pip install 'calclab[interactive]'. "
            "Or leave --interactive out"
        ) from None


def panels(run: Run) -> Iterator[tuple[str, Panel]]:
    """The records of a run's pictures, by name."""
    pictures = [made for entry in run.outcome.get("pictures") or () if (made := picture(entry))]
    names = [name for made in pictures for name in made.shows]
    labels = {name: found for name in dict.fromkeys(names) if (found := named(run.folder, name))}
    title = str(run.outcome.get("title") or "")
    sink = FiguresSink()
    sink.open(core.Run(run.topic, "", title, run.folder, 0, labels, pictures, {}))
    sink.write(recorded(run.folder, names))
    for made in pictures:
        record = sink.record(made)
        if record is not None and helps(record):
            yield made.name, record


def helps(record: Panel) -> bool:
    """Whether there is more to ask than the static picture has written into it."""
    if isinstance(record, HeatmapPanel):
        rows, columns = len(record.rows), len(record.columns)
        return max(rows, columns) > WRITTEN and rows * columns <= CELLS
    return not isinstance(record, BarsPanel) or len(record.values) > WRITTEN


def picture(entry: Mapping[str, Any]) -> Picture | None:
    """A picture as it was defined; None of a kind that needs more than what was logged."""
    if entry.get("kind") not in KINDS:
        return None
    parts = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    del parts["kind"]
    try:
        if "guides" in parts:
            parts["guides"] = tuple(Guide(**guide) for guide in parts["guides"])
        made: Picture = getattr(core, str(entry["kind"]))(**parts)
    except TypeError:  # of another version
        return None
    return made


def named(folder: Path, name: str) -> tuple[Sequence[str], ...]:
    """The names along the axes of a value, as the heads of its files have them."""
    if files := sorted(matrix_files(folder, name)):
        path = files[-1][1]
        rows = [of_cell(row[0]) for row in read(path)[1:]] if path.suffix == ".csv" else []
        return (rows, frames.header(path)[1:]) if rows else ()
    head = frames.header(folder / f"{frames.stem(name)}.csv")
    return (head[1:],) if head[:1] == ["step"] else ()
