"""A sweep over numbers as a few scans: jobs that differ in lr, momentum, start, ... walk side by side in one process.

Several processes share the scans out. Whatever happens to one, its jobs are done again, one by one, each in a process
that is its own risk.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calclab.app.signals import signals
from calclab.app.sweep.engine import Engine
from calclab.app.sweep.ticket import Ticket
from calclab.app.sweep.worker import Worker, work_off
from calclab.text import say

MOST = 512  # jobs in one task: what is lost when a process dies


class BatchLauncher(Engine):
    """``processes`` at a time; null for as many as there are cores."""

    careful = True

    def __init__(self, *, processes: int | None) -> None:
        self.processes = processes or len(os.sched_getaffinity(0))
        self.rows: dict[int, dict[str, Any]] = {}  # of jobs that went together

    def row(self, number: int) -> dict[str, Any] | None:
        return self.rows.get(number) or super().row(number)

    def run(self, tickets: Iterator[Ticket]) -> None:
        every = list(tickets)
        size = max(1, min(MOST, -(-len(every) // self.processes)))
        tasks = [every[i : i + size] for i in range(0, len(every), size)]
        reports: list[Any] = []
        workers = [Worker(work=work) for _ in range(min(self.processes, len(tasks)))]
        for worker in workers:
            worker.start()  # a fork must not be made among threads
        with signals() as received, ThreadPoolExecutor(len(workers)) as pool:
            shares = [tasks[i :: len(workers)] for i in range(len(workers))]
            done = pool.map(lambda worker, share: list(self.share(worker, share, received)), workers, shares)
            for found in done:
                reports += found
        self.rows = {row["job"]: row for report in reports for row in report.rows}
        if received:
            raise KeyboardInterrupt(received[0])
        tell(reports)

    def share(self, worker: Worker, tasks: Sequence[Sequence[Ticket]], received: Sequence[int]) -> Iterator[Any]:
        """The reports of the tasks that fall to one worker."""
        try:
            for task in tasks:
                if received:
                    return
                report = worker.ask(task, received)
                if report is not None:
                    yield report
                elif not received:
                    for _ in work_off(task, worker, received, self.fail_fast):
                        pass
        finally:
            worker.close()


def work(task: Any) -> Any:
    """In the worker: some tickets together, or one alone."""
    from calclab.app.sweep.batch import run_tickets
    from calclab.app.sweep.ticket import run_ticket

    return run_ticket(task) if isinstance(task, Ticket) else run_tickets(task)


def tell(reports: Sequence[Any]) -> None:
    """How the jobs went together, and why some did not."""
    scans = [runs for report in reports for runs in report.scans]
    if scans:
        print(f"batch: {sum(scans)} job{'s' * (sum(scans) > 1)} in {len(scans)} scan{'s' * (len(scans) > 1)}")
    for reason, count in Counter(reason for report in reports for reason in report.alone).items():
        say(f"batch: {count} alone: {reason}")
