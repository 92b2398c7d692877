"""Jobs as submitit submits them: to a Slurm cluster, or here as a cluster would run them. A job travels as a ticket.

The plugin that exists for Hydra (1.2.0) composes every job anew in its process, starts all local ones at once, and
leaves them running when the command is stopped. The options have its names: where it is installed, Hydra insists.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import OmegaConf

from calclab.app.sweep.engine import WAITING, Engine
from calclab.app.sweep.isolated import Resumable
from calclab.app.sweep.ticket import Ticket, row_of

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

ANYWHERE = (  # what submitit asks of any cluster; anything else is named after one
    "name",
    "timeout_min",
    "nodes",
    "tasks_per_node",
    "cpus_per_task",
    "gpus_per_node",
    "mem_gb",
    "stderr_to_stdout",
)
TICK, PATIENCE = 0.05, 30.0  # seconds between two looks at the jobs; for jobs to leave in


class SubmititLauncher(Engine):
    """What is given are the parameters of submitit.AutoExecutor; null is submitit's own default."""

    cluster: ClassVar[str]

    def __init__(self, *, submitit_folder: str, max_num_timeout: int | None = None, **parameters: Any) -> None:
        self.folder, self.max_num_timeout = submitit_folder, max_num_timeout
        given: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in parameters.items()
        }
        self.parameters = {k: v for k, v in given.items() if v is not None}

    def executor(self) -> AutoExecutor:
        from submitit import AutoExecutor

        own = {} if self.max_num_timeout is None else {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        executor = AutoExecutor(self.folder, cluster=self.cluster, **own)
        named = {k if k in ANYWHERE else f"{self.cluster}_{k}": v for k, v in self.parameters.items()}
        executor.update_parameters(**named)
        return executor

    def run(self, tickets: Iterator[Ticket]) -> None:
        executor, waiting = self.executor(), deque(tickets)
        running: dict[int, Job[Any]] = {}
        ended = False
        lost: BaseException | None = None
        try:
            while running or (waiting and not ended):
                while waiting and not ended and len(running) < self.at_once():
                    running |= self.submit(executor, waiting)
                time.sleep(TICK)
                for number in [number for number, job in running.items() if job.done()]:
                    job, row = running.pop(number), row_of(self.sweep, number) or {}
                    ended = ended or (self.fail_fast and row.get("status") in ("failed", WAITING))
                    if row.get("status") == WAITING:
                        lost = job.exception()
        except KeyboardInterrupt:
            self.stop(list(running.values()))
            raise
        if lost is not None:
            raise lost

    @abstractmethod
    def at_once(self) -> int:
        """How many jobs may run at a time."""

    @abstractmethod
    def submit(self, executor: AutoExecutor, waiting: deque[Ticket]) -> dict[int, Job[Any]]:
        """Submit some of those waiting; the jobs by number."""

    def stop(self, jobs: list[Job[Any]]) -> None:
        """Tell the jobs to end, by SIGTERM, and wait until their runs have been saved."""
        for job in jobs:
            self.cancel(job)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not all(job.done() for job in jobs):
            time.sleep(TICK)

    @abstractmethod
    def cancel(self, job: Job[Any]) -> None:
        """Send SIGTERM to the job."""


class LocalLauncher(SubmititLauncher):
    """As many at a time as the cores allow."""

    cluster = "local"

    def at_once(self) -> int:
        return max(1, (os.cpu_count() or 1) // self.parameters.get("cpus_per_task", 1))

    def submit(self, executor: AutoExecutor, waiting: deque[Ticket]) -> dict[int, Job[Any]]:
        ticket = waiting.popleft()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this process to hear
        try:
            return {ticket.number: executor.submit(Resumable(), ticket, os.getcwd())}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def cancel(self, job: Job[Any]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGTERM)  # job.cancel would allow the run a second, and then kill it


class SlurmLauncher(SubmititLauncher):
    """All at once, as one array of which Slurm lets array_parallelism run."""

    cluster = "slurm"

    def at_once(self) -> int:
        return sys.maxsize

    def submit(self, executor: AutoExecutor, waiting: deque[Ticket]) -> dict[int, Job[Any]]:
        tickets = list(waiting)
        waiting.clear()
        jobs = executor.map_array(Resumable(), tickets, [os.getcwd()] * len(tickets))
        return {ticket.number: job for ticket, job in zip(tickets, jobs, strict=True)}

    def cancel(self, job: Job[Any]) -> None:
        job.cancel()
