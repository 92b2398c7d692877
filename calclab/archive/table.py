"""The list of runs as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO, Any

from calclab.archive.disk import readable
from calclab.archive.query import column
from calclab.archive.read import cell, columns
from calclab.archive.run import Run

USUAL = ("topic", "subject", "status", "steps", "seconds", "verdict", "started", "folder")
DRAWN = 300  # rows from which on drawing a table takes longer than anybody reads; then lines of plain text
LONG = 80  # characters of a cell but a folder's, which can be copied
COLOURS = {"failed": "bold red", "unreadable": "bold red", "interrupted": "yellow", "running": "cyan"}


def columns_of(text: str | None, *, disk: bool = False) -> list[str]:
    """The columns asked for: ``a,b`` these, ``+a,b`` the usual ones and these. Numbers stand before the folder."""
    asked = [name.strip() for name in (text or "").lstrip("+").split(",") if name.strip()]
    names = asked if asked and not (text or "").startswith("+") else [*USUAL[:-1], *asked, USUAL[-1]]
    if disk and "size" not in names:
        names.insert(names.index("folder") if "folder" in names else len(names), "size")
    return list(dict.fromkeys(names))


def write(runs: Sequence[Run], names: Sequence[str], out: IO[str], *, drawn: bool) -> None:
    """The table, drawn for a terminal or in plain aligned text."""
    rows = list(zip(*([shown(name, value) for value in column(runs, name)] for name in names), strict=True))
    if drawn and len(rows) <= DRAWN:
        draw(rows, names, out)
    else:
        out.writelines(aligned([tuple(names), *rows]))


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines with two spaces between columns."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip() + "\n"


def draw(rows: Iterable[Sequence[str]], names: Sequence[str], out: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        drawn.add_column(Text(name), overflow="fold")
    place = names.index("status") if "status" in names else None
    for row in rows:
        style = COLOURS.get(row[place]) if place is not None else None
        drawn.add_row(*map(Text, row), style=style)  # Text: a folder's [1.0] is no markup
    Console(file=out).print(drawn)


def shown(name: str, value: Any) -> str:
    """A value as a cell shows it, in one line."""
    if value is None:
        return ""
    if name == "size":
        return readable(value)
    if name == "started":
        return local(value)
    text = f"{value:.6g}" if isinstance(value, float) else str(cell(value))
    text = " ".join(text.split())
    return text if name == "folder" or len(text) <= LONG else f"{text[: LONG - 1]}…"


def local(started: str) -> str:
    """A time of this machine's zone, to the second."""
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return started


def plain_columns(runs: Sequence[Run], names: Sequence[str] | None) -> dict[str, list[Any]]:
    """The columns for a program: those named, else everything that is known."""
    return columns(runs) if names is None else {name: column(runs, name) for name in names}


def write_csv(runs: Sequence[Run], names: Sequence[str] | None, out: IO[str]) -> None:
    """CSV; lists as JSON, as in the frame of `calclab.load`."""
    named = plain_columns(runs, names)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(named)
    writer.writerows(zip(*([cell(value) for value in values] for values in named.values()), strict=True))
    out.write(buffer.getvalue())


def write_json(runs: Sequence[Run], names: Sequence[str] | None, out: IO[str]) -> None:
    """A list of objects, strict JSON; what is not finite is the string "nan", "inf" or "-inf", as in outcome.json."""
    named = plain_columns(runs, names)
    rows = [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[name] = str(value)
    json.dump(rows, out, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    out.write("\n")
