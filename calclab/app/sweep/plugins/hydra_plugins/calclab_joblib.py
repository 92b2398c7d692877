"""Jobs side by side on the cores of this machine: joblib shares them out, each to a worker process that stays warm.

The plugin that exists for Hydra (1.2.0) composes every job anew in a process of loky's, and a crash there ends the
sweep. Here joblib's threads only wait: the work is done by the lab's own workers, one a thread, of which a crash costs
the job in hand.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from calclab.app.signals import signals
from calclab.app.sweep.engine import Engine
from calclab.app.sweep.ticket import Ticket
from calclab.app.sweep.worker import Worker
from calclab.errors import UserError


class JoblibLauncher(Engine):
    """``n_jobs`` at a time; -1 for as many as there are cores, -2 for one less."""

    careful = True

    def __init__(self, *, n_jobs: int, **other: Any) -> None:
        # other: where hydra-joblib-launcher is installed, Hydra adds its settings to any option of this name
        from joblib import cpu_count

        if not isinstance(n_jobs, int) or n_jobs == 0:
            raise UserError(f"hydra.launcher.n_jobs={n_jobs}: it is a whole number, -1 for all cores; not 0.")
        cores: int = cpu_count()
        self.n_jobs = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.n_jobs)))  # of each worker
        self.workers = [Worker(method()) for _ in range(self.n_jobs)]
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)

    def run(self, tickets: Iterator[Ticket]) -> None:
        from joblib import Parallel, delayed

        ended = threading.Event()

        def run_ticket(ticket: Ticket) -> None:
            if received or ended.is_set():
                return
            worker = self.idle.get()
            row = worker.do(ticket, received)
            self.idle.put(worker)
            if self.fail_fast and row["status"] == "failed":
                ended.set()

        with signals() as received:  # joblib calls the generator under a lock of its own
            Parallel(self.n_jobs, backend="threading", batch_size=1)(delayed(run_ticket)(ticket) for ticket in tickets)
        if received:
            raise KeyboardInterrupt(received[0])

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def method() -> str:
    """How workers start: not by a fork among threads, but by a server without any, which has torch loaded."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload(["calclab.app.compute"])
    return "forkserver"
