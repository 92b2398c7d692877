"""A process that takes one ticket after another. When it dies, the ticket in hand is its only loss.

The parent computes nothing, so forking it is safe; where there is no fork, the worker is spawned.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from calclab.app.perform import Ticket, failed, keep, perform

TICK = 0.1  # seconds between two looks at the signals received


def work_off(tickets: Iterable[Ticket], received: Sequence[int], fail_fast: bool) -> Iterator[dict[str, Any]]:
    """The rows of ``tickets`` in order, until a signal is received (or a job fails, with ``fail_fast``)."""
    worker = Worker()
    try:
        for ticket in tickets:
            row = worker.do(ticket, received)
            yield row
            if received or (fail_fast and row["status"] == "failed"):
                return
    finally:
        worker.close()


class Worker:
    """One process at a time, started when there is work for it."""

    def __init__(self, method: str = "fork" if sys.platform == "linux" else "spawn") -> None:
        self._context: Any = multiprocessing.get_context(method)
        self._process: Any = None
        self._pipe: Connection | None = None

    def do(self, ticket: Ticket, received: Sequence[int]) -> dict[str, Any]:
        """Have ``ticket`` done and return its row; a signal received here is passed on to the worker, once."""
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._pipe is not None
        self._pipe.send(ticket)
        told = False
        while True:
            ready = wait([self._pipe, self._process.sentinel], timeout=TICK)
            if self._pipe in ready:
                try:
                    return self._pipe.recv()
                except EOFError:
                    return self._died(ticket)
            if ready:
                return self._died(ticket)
            if received and not told:
                told = True
                if received[0] == signal.SIGTERM:  # Ctrl-C reaches the whole group by itself
                    self._process.terminate()

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(timeout=5)
            self._process.kill()

    def _start(self) -> None:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(other, self._pipe, perform), daemon=True)
        self._process.start()
        other.close()

    def _died(self, ticket: Ticket) -> dict[str, Any]:
        self._process.join()
        code = self._process.exitcode
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit status {code}"
        if code == -signal.SIGKILL:
            cause += " (out of memory?)"
        row = {"job": ticket.number, "overrides": " ".join(ticket.asked)}
        return keep(row | failed(1, f"the process of this job was {cause}"), ticket.sweep)


def serve(pipe: Connection, parents: Connection, work: Callable[[Ticket], dict[str, Any]]) -> None:
    """The worker's loop: until the parent closes the pipe, or is gone."""
    parents.close()  # a fork's copy of the parent's end would keep the pipe open
    while True:
        try:
            pipe.send(work(pipe.recv()))
        except (EOFError, BrokenPipeError):
            return
        except KeyboardInterrupt:
            continue
