"""Lines and tables for a terminal: aligned, in colour, broken at its width; piped, plain text, a line each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from calclab.lines import Line, Said, Table
from calclab.text import printable

if TYPE_CHECKING:
    from rich.text import Text

LABEL = 8  # characters of a label, at least
LONG = 24  # ... and at most, before what is said begins on a line of its own
LEAST = 24  # characters of text in a line, however narrow the terminal
COLOURS = {"title": "bold", "headline": "bold", "good": "green", "doubtful": "yellow", "bad": "bold red"}


def show(said: Iterable[Said], stream: TextIO | None = None) -> None:
    """Print to ``stream`` (stdout); the words alone carry the meaning, colours none."""
    stream = sys.stdout if stream is None else stream
    entries = list(said)
    edge = margin(entries)
    if not stream.isatty():
        stream.writelines(f"{text}\n" for text in plain(entries, edge))
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    for entry in entries:
        for text in coloured(entry, edge, console):
            console.print(text, soft_wrap=True)


def margin(entries: Sequence[Said]) -> int:
    """How wide labels are."""
    widths = (len(entry.label) for entry in entries if isinstance(entry, Table) or entry.text)
    return max([LABEL, *(width for width in widths if width <= LONG)])


def plain(entries: Sequence[Said], edge: int | None = None) -> Iterator[str]:
    """A line of text each, of a table one a row."""
    edge = margin(entries) if edge is None else edge
    for entry in entries:
        rows = [entry.text] if isinstance(entry, Line) else grid(entry)
        for i, row in enumerate(rows):
            yield (
                f"{printable(entry.label if i == 0 else ''):<{edge}}  {printable(row)}"
                if row
                else printable(entry.label)
            )


def coloured(entry: Said, edge: int, console: Any) -> Iterator[Text]:
    """The lines of one entry, none wider than the console but for what is to be copied."""
    from rich.text import Text

    room = max(LEAST, console.width - edge - 2)
    label = printable(entry.label)
    style = "" if isinstance(entry, Table) else COLOURS.get(entry.kind, "")
    if isinstance(entry, Line) and not entry.text:
        yield from Text(label, style=style).wrap(console, console.width)
        return
    if isinstance(entry, Table):
        parts: Iterable[Text] = [Text(row) for row in grid(entry, room)]
    elif entry.kind == "place":
        parts = [Text(printable(entry.text))]
    else:
        parts = Text(printable(entry.text), style=style).wrap(console, room)
    if len(label) > edge:
        yield Text(label, style="dim")
        label = ""
    for i, part in enumerate(parts):
        part.rstrip()
        yield Text.assemble((f"{label if i == 0 else '':<{edge}}  ", "dim"), part)


def grid(table: Table, room: int | None = None) -> list[str]:
    """The rows of a table in columns, numbers to the right; where it is wider than ``room``, the columns that fit come
    first and the others below, beside the names of the rows again."""
    from rich.cells import cell_len

    cells = [[printable(cell) for cell in row] for row in (table.head, *table.rows)]
    columns = [list(column) for column in zip(*cells, strict=True)]
    shown = [aligned(column, cell_len, right=i > 0 and numeric(column[1:])) for i, column in enumerate(columns)]
    names, rest = shown[0], shown[1:]
    groups: list[list[list[str]]] = [[]]
    width = cell_len(names[0])
    for column in rest:
        wide = cell_len(column[0]) + 2
        if room is not None and groups[-1] and width + wide > room:
            groups.append([])
            width = cell_len(names[0])
        groups[-1].append(column)
        width += wide
    return ["  ".join(row).rstrip() for group in groups for row in zip(names, *group, strict=True)]


def aligned(column: Sequence[str], length: Any, *, right: bool) -> list[str]:
    wide = max(map(length, column))
    pads = [" " * (wide - length(cell)) for cell in column]
    return [pad + cell if right else cell + pad for pad, cell in zip(pads, column, strict=True)]


def numeric(cells: Sequence[str]) -> bool:
    """Whether a column is one of numbers, as far as their first characters tell."""
    return all(cell[:1].isdigit() or cell[:1] in ("-", "+", "±", "") or cell in ("nan", "inf") for cell in cells)
