"""A process that takes one ticket after another. When it dies, the ticket in hand is its only loss.

Ctrl-C, which a terminal sends to a whole group of processes, is for the parent to hear: it tells its worker by SIGTERM,
once. A worker whose parent is gone leaves at once, so that nothing holds a run that the same command asks for again.

How it starts is Python's default, which `nursery` may have set; where there are threads, engines name another way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from calclab.app.pages import keep_pages
from calclab.app.sweep.ticket import Ticket, failed, keep, run_ticket

TICK = 0.1  # seconds between two looks at the signals received
PATIENCE = 5.0  # seconds to leave in, before a worker is killed


def work_off(
    tickets: Iterable[Ticket], worker: Worker, received: Sequence[int], fail_fast: bool
) -> Iterator[dict[str, Any]]:
    """The rows of ``tickets`` in order, until a signal is received (or a job fails, with ``fail_fast``)."""
    for ticket in tickets:
        row = worker.do(ticket, received)
        yield row
        if received or (fail_fast and row["status"] == "failed"):
            return


class Worker:
    """One process at a time, started when there is work for it."""

    def __init__(self, method: str | None = None, work: Callable[[Any], Any] = run_ticket) -> None:
        self._context: Any = multiprocessing.get_context(method)
        self._work = work
        self._process: Any = None
        self._pipe: Connection | None = None
        self._busy = False
        self._told: Sequence[int] = ()  # the signal passed on

    def do(self, ticket: Ticket, received: Sequence[int]) -> dict[str, Any]:
        """Have ``ticket`` done and return its row; a signal received here is passed on to the worker, once."""
        return self.ask(ticket, received) or self._died(ticket)

    def ask(self, task: Any, received: Sequence[int]) -> Any:
        """What the worker answers to ``task``; None when it died over it."""
        self._hand(task)
        assert self._pipe is not None
        self._told = ()
        while True:
            ready = wait([self._pipe, self._process.sentinel], timeout=TICK)
            if ready:
                try:
                    row = self._pipe.recv() if self._pipe in ready else None
                except (EOFError, ConnectionResetError):
                    row = None
                self._busy = False
                return row
            if received and not self._told:
                self._told = received
                self._process.terminate()

    def close(self) -> None:
        """End the process: in peace when it waits for work, by a signal when it is at some."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            if self._busy:
                self._process.terminate()
            self._process.join(timeout=PATIENCE)
            self._process.kill()
            self._process.join()
        self._process, self._pipe, self._busy = None, None, False

    def _hand(self, task: Any) -> None:
        if self._process is None or not self._process.is_alive():
            self.start()
        assert self._pipe is not None
        try:
            self._pipe.send(task)
        except OSError:  # died while it had nothing to do
            self.start()
            self._pipe.send(task)
        self._busy = True

    def start(self) -> None:
        """Start the process, which otherwise comes with the first task."""
        if self._pipe is not None:
            self._pipe.close()
        self._pipe, other = self._context.Pipe()
        args = (other, self._pipe, self._work, dict(os.environ))
        self._process = self._context.Process(target=serve, args=args, daemon=True)
        self._process.start()
        other.close()

    def _died(self, ticket: Ticket) -> dict[str, Any]:
        self._process.join()
        code = self._process.exitcode
        row = {"job": ticket.number, "overrides": " ".join(ticket.asked)}
        if self._told:  # before the run had begun to listen
            return keep(row | {"status": "interrupted", "exit": 128 + self._told[0]}, ticket.sweep)
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit status {code}"
        if code == -signal.SIGKILL:
            cause += " (out of memory?)"
        return keep(row | failed(1, f"the process of this job was {cause}"), ticket.sweep)


def serve(pipe: Connection, parents: Connection, work: Callable[[Any], Any], environment: Mapping[str, str]) -> None:
    """The worker's loop: until the parent closes the pipe, or is gone."""
    os.environ.update(environment)  # a server's may be older
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for number in (signal.SIGINT, signal.SIGTERM):  # a fork has the parent's handlers
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=follow, daemon=True).start()
    keep_pages()
    parents.close()  # a fork's copy of the parent's end would keep the pipe open
    while True:
        try:
            pipe.send(work(pipe.recv()))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return


def follow() -> None:
    """Leave with the parent, in the middle of a run if need be: runs are safe against that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
