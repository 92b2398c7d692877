"""One job of a sweep, in whatever process: from a ticket to a row of the sweep's table. It never raises."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calclab.app import place
from calclab.errors import UserError

COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")


@dataclass(frozen=True)
class Ticket:
    """What a worker needs to know of a job: plain data, so that any process can take it."""

    number: int
    asked: Sequence[str]
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    sweep: Path


def perform(ticket: Ticket) -> dict[str, Any]:
    """Run the job, or find it finished; its row, also written beside the sweep's table."""
    row: dict[str, Any] = {"job": ticket.number, "overrides": " ".join(ticket.asked)}
    try:
        row |= attempt(ticket)
    except UserError as mistake:
        row |= failed(2, str(mistake))
    except (Exception, SystemExit) as crash:
        row |= failed(1, f"{type(crash).__name__}: {crash}")
    return keep(row, ticket.sweep)


def attempt(ticket: Ticket) -> dict[str, Any]:
    from calclab.app.check import check_config
    from calclab.app.choice import chosen, trimmed
    from calclab.app.signals import signals

    check_config(ticket.config, ticket.choices)
    config = trimmed(ticket.config, chosen(ticket.choices, ticket.asked))
    where = place.locate(config, ticket.choices["topic"], ticket.asked)
    record = None if config["rerun"] else where.finished()
    if record is None:
        from calclab.app.execute import execute
        from calclab.app.job import prepare

        job = prepare(config, ticket.choices, ticket.asked, where, ticket.asked)
        with where.held(), signals() as received:
            record = None if config["rerun"] else where.finished()
            record = record or execute(job, lambda: bool(received))
            if received and record["status"] == "interrupted":
                record |= {"exit": 128 + received[0]}
    return {
        "status": record["status"],
        "objective": objective(record),
        "steps": record["steps"],
        "seconds": round(record["seconds"], 4),
        "exit": record["exit"],
        "folder": str(where.folder),
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
    """Write the row to a file of its own, whole or not at all, so that no process needs another."""
    temporary = sweep / f".{row['job']}.json"
    temporary.write_text(json.dumps(row), encoding="utf-8")
    os.replace(temporary, sweep / f"{row['job']}.json")
    return row
