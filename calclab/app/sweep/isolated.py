"""A job in a process of an engine, which knows no Hydra: a ticket comes in, a row goes out.

The job runs in a child of the engine's process, warm from one job to the next, so that a crash is its own loss.
"""

from __future__ import annotations

import atexit
import os
import sys
from functools import cache
from typing import Any

from calclab.app.signals import signals
from calclab.app.sweep.ticket import Ticket, rows
from calclab.app.sweep.worker import Worker


def isolated(ticket: Ticket, home: str) -> dict[str, Any]:
    """Perform the job in a child of this process, in the folder ``home`` of the sweep; its row."""
    os.chdir(home)
    if home not in sys.path:
        sys.path.insert(0, home)
    if ticket.config["fail_fast"] and any(row["status"] == "failed" for row in rows(ticket.sweep)):
        return {"exit": 0}  # left out: another has failed
    with signals() as received:
        return own_worker().do(ticket, received)


class Resumable:
    """`isolated` as submitit wants it: a job that its cluster cuts short is submitted again, and its run goes on."""

    def __call__(self, ticket: Ticket, home: str) -> dict[str, Any]:
        return isolated(ticket, home)

    def checkpoint(self, ticket: Ticket, home: str) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, ticket, home)


@cache
def own_worker() -> Worker:
    """The child of this process in which its jobs run. Spawned: engines have threads, which a fork breaks."""
    worker = Worker("spawn")
    atexit.register(worker.close)
    return worker
