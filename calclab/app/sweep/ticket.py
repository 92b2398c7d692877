"""One job of a sweep, in whatever process: from a ticket to a row of the sweep's table. It never raises."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.app.place import BusyError
from calclab.app.secrets import hidden
from calclab.archive.run import first_number
from calclab.errors import UserError

if TYPE_CHECKING:
    from calclab.app.request import Request

COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")
BUSY = "running"  # the status of a job that another process computes
COUNT = ".jobs"  # in the sweep's folder: how many jobs there are in all
SWEPT = ".swept"  # there too: the knobs that have several values, one a line
ANEW = ".anew"  # there too, as old as a sweep with rerun=true that has not come to its end


@dataclass(frozen=True)
class Ticket:
    """What a worker needs to know of a job: plain data, so that any process can take it."""

    number: int
    asked: Sequence[str]
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    sweep: Path


@dataclass(frozen=True)
class Report:
    """What a worker tells of some tickets: their rows, the runs in each scan, and why others went alone."""

    rows: Sequence[dict[str, Any]]
    scans: Sequence[int] = ()
    alone: Sequence[str] = ()


def run_ticket(ticket: Ticket) -> dict[str, Any]:
    """Run the job, or find it finished; its row, also written beside the sweep's table."""
    with row_for(ticket) as row:
        request = requested(ticket)
        record = request.shown_again()
        if record is None:
            from calclab.app.compute import compute

            record = compute(request)
        row |= ending(request.place.folder, record)
    return keep(row, ticket.sweep)


def requested(ticket: Ticket) -> Request:
    """The run that a ticket asks for. A sweep with rerun=true that goes on has done some of its jobs anew before."""
    from calclab.app.request import ask

    request = ask(ticket.config, ticket.choices, ticket.asked, ticket.asked, swept(ticket.sweep), ticket.sweep)
    if request.config["rerun"] and written(request.place.folder / "outcome.json") > written(ticket.sweep / ANEW) > 0:
        return replace(request, config={**request.config, "rerun": False})
    return request


@functools.lru_cache(maxsize=8)
def swept(sweep: Path) -> tuple[str, ...]:
    """The knobs of a sweep that have several values, as it says itself; none where it does not."""
    try:
        return tuple((sweep / SWEPT).read_text(encoding="utf-8").split())
    except OSError:
        return ()


def written(path: Path) -> int:
    """When a file was written, by the clock of its disk; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@contextmanager
def row_for(ticket: Ticket) -> Iterator[dict[str, Any]]:
    """The row of a job, to be filled within the block; whatever is raised there is told in it."""
    row: dict[str, Any] = {"job": ticket.number, "overrides": " ".join(ticket.asked)}
    try:
        yield row
    except BusyError as busy:
        row |= {"status": BUSY, "exit": 0, "folder": str(busy.folder)}
    except UserError as mistake:
        row |= failed(2, hidden(str(mistake), ticket.config))
    except (Exception, SystemExit) as crash:
        row |= failed(1, hidden(f"{type(crash).__name__}: {crash}", ticket.config))


def ending(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """How a run ended, as the sweep's table tells it."""
    return {
        "status": record["status"],
        "objective": objective(record),
        "steps": record["steps"],
        "seconds": round(record["seconds"], 4),
        "exit": record["exit"],
        "folder": str(folder),
        "error": first_line(record.get("error") or ""),
    }


def objective(record: Mapping[str, Any]) -> float | None:
    """The first number of a topic's answer: what a sweeper may minimise."""
    found = first_number((record.get("answer") or {}).get("values") or {})
    return None if found is None else found[1]


def failed(status: int, error: str) -> dict[str, Any]:
    return {"status": "failed", "exit": status, "error": first_line(error)}


def first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def keep(row: dict[str, Any], sweep: Path) -> dict[str, Any]:
    """Write the row to a file of its own, so that no process needs another."""
    put(row, sweep, str(row["job"]))
    return row


def keep_all(rows: Sequence[dict[str, Any]], sweep: Path) -> None:
    """Write the rows of jobs that went together to one file."""
    if rows:
        put(rows, sweep, f"{rows[0]['job']}+")


def put(content: Any, sweep: Path, stem: str) -> None:
    """Write a file of rows, whole or not at all."""
    temporary = sweep / f".{stem}.json"
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, sweep / f"{stem}.json")


def announce(sweep: Path, count: int) -> None:
    """Say how many jobs the sweep has, whatever becomes of them."""
    (sweep / COUNT).write_text(str(count), encoding="utf-8")


def announced(sweep: Path) -> int:
    """How many jobs the sweep has; 0 where nobody said."""
    try:
        return int((sweep / COUNT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def rows(sweep: Path) -> list[dict[str, Any]]:
    """The rows of all jobs, in order, as their processes wrote them."""
    files = sorted(sweep.glob("[0-9]*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    each = [row for content in found for row in (content if isinstance(content, list) else [content])]
    return sorted({row["job"]: row for row in each}.values(), key=lambda row: row["job"])


def row_of(sweep: Path, number: int) -> dict[str, Any] | None:
    """The row of one job; None where there is none, or none yet."""
    try:
        return json.loads((sweep / f"{number}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        together = (json.loads(file.read_text(encoding="utf-8")) for file in sweep.glob("*+.json"))
        return next((row for many in together for row in many if row["job"] == number), None)
