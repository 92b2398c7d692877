"""The list of runs as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import IO, Any

from calclab.archive.disk import readable
from calclab.archive.query import column
from calclab.archive.read import cell, columns
from calclab.archive.run import Run
from calclab.text import cell as guarded
from calclab.text import printable

USUAL = ("topic", "subject", "status", "steps", "seconds", "verdict", "started", "folder")
LONG = 80  # characters of a cell but a folder's, which can be copied
COLOURS = {"failed": "bold red", "unreadable": "bold red", "interrupted": "yellow", "running": "cyan"}


def columns_of(text: str | None, *, disk: bool = False) -> list[str]:
    """The columns asked for: ``a,b`` these, ``+a,b`` the usual ones and these, before the folder."""
    asked = [name.strip() for name in (text or "").lstrip("+").split(",") if name.strip()]
    names = asked if asked and not (text or "").startswith("+") else [*USUAL[:-1], *asked, USUAL[-1]]
    if disk and "size" not in names:
        names.insert(names.index("folder") if "folder" in names else len(names), "size")
    return list(dict.fromkeys(names))


def write(runs: Sequence[Run], names: Sequence[str], out: IO[str]) -> None:
    """Aligned text, one line a run; on a terminal what went wrong is coloured.

    No line is broken, so that a folder can be copied from a narrow terminal too.
    """
    head, *lines = aligned([tuple(names), *zip(*(cells(runs, name) for name in names), strict=True)])
    if not out.isatty():
        out.writelines(f"{line}\n" for line in (head, *lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out)  # Text: a folder's [x] is no markup
    console.print(Text(head, "bold"), soft_wrap=True)
    for run, line in zip(runs, lines, strict=True):
        console.print(Text(line, COLOURS.get(run.status, "")), soft_wrap=True)


def cells(runs: Sequence[Run], name: str) -> list[str]:
    """A column as text."""
    return [shown(name, value) for value in column(runs, name)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def shown(name: str, value: Any) -> str:
    """A value as a cell shows it, in one line."""
    if value is None:
        return ""
    if name == "size":
        return readable(value)
    if name == "started":
        return local(value)
    text = f"{value:.6g}" if isinstance(value, float) else str(cell(value))
    text = printable(" ".join(text.split()))
    return text if name == "folder" or len(text) <= LONG else f"{text[: LONG - 1]}…"


def local(started: str) -> str:
    """A time of this machine's zone, to the minute."""
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")
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
    writer.writerow(map(guarded, named))
    writer.writerows(zip(*([as_cell(value) for value in values] for values in named.values()), strict=True))
    out.write(buffer.getvalue())


def as_cell(value: Any) -> Any:
    """A value as a cell of a CSV file; texts are guarded from spreadsheets."""
    plain = cell(value)
    return guarded(plain) if isinstance(plain, str) else plain


def write_json(runs: Sequence[Run], names: Sequence[str] | None, out: IO[str]) -> None:
    """A list of objects, one a line, strict JSON; what is not finite is "nan", "inf" or "-inf", as in outcome.json."""
    named = plain_columns(runs, names)
    rows = (dict(zip(named, map(finite, row), strict=True)) for row in zip(*named.values(), strict=True))
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False, default=str) for row in rows)
    out.write("[" + ",\n".join(lines) + "]\n")


def finite(value: Any) -> Any:
    """The value, a number that is not finite as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
