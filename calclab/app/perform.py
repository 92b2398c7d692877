"""One job of a sweep, in whatever process: from a ticket to a row of the sweep's table. It never raises."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.app.secrets import hidden
from calclab.errors import UserError

if TYPE_CHECKING:
    from calclab.app.attempt import Attempt

COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")


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


def perform(ticket: Ticket) -> dict[str, Any]:
    """Run the job, or find it finished; its row, also written beside the sweep's table."""
    from calclab.app.attempt import ask, attempt

    with row_for(ticket) as row:
        row |= told(attempt(ask(ticket.config, ticket.choices, ticket.asked, ticket.asked)))
    return keep(row, ticket.sweep)


@contextmanager
def row_for(ticket: Ticket) -> Iterator[dict[str, Any]]:
    """The row of a job, to be filled within the block; whatever is raised there is told in it."""
    row: dict[str, Any] = {"job": ticket.number, "overrides": " ".join(ticket.asked)}
    try:
        yield row
    except UserError as mistake:
        row |= failed(2, hidden(str(mistake), ticket.config))
    except (Exception, SystemExit) as crash:
        row |= failed(1, hidden(f"{type(crash).__name__}: {crash}", ticket.config))


def told(run: Attempt) -> dict[str, Any]:
    """A run as the sweep's table tells it."""
    record = run.record
    return {
        "status": record["status"],
        "objective": objective(record),
        "steps": record["steps"],
        "seconds": round(record["seconds"], 4),
        "exit": record["exit"],
        "folder": str(run.folder),
        "error": first_line(record.get("error") or ""),
    }


def objective(record: Mapping[str, Any]) -> float | None:
    """The first number of a topic's answer: what a sweeper may minimise."""
    values = ((record.get("answer") or {}).get("values") or {}).values()
    return next((float(value) for value in values if isinstance(value, int | float)), None)


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
