"""Engines: what a launcher of jobs must be to a sweeper, and how one that is not ours is held to what ours promise.

Every job has a row from the start, so that none is missing when an engine gives up half way.
"""

from __future__ import annotations

import contextlib
import signal
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from calclab.app.sweep.composer import Composer
from calclab.app.sweep.ticket import Ticket, failed, keep, row_of

WAITING = "waiting"


class Engine(Launcher):
    """A launcher that sends tickets, so that the process of a job needs no Hydra."""

    careful = False  # whether it ends by itself on a signal, and leaves a row of every job that it began

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.composer = Composer(hydra_context.config_loader, config)
        self.sweep = Path(config.hydra.sweep.dir)
        self.fail_fast = bool(config.fail_fast)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = enumerate(job_overrides, initial_job_idx)
        self.run(self.composer.ticket(number, list(overrides), self.sweep) for number, overrides in jobs)
        return [returned(self.row(initial_job_idx + k)) for k in range(len(job_overrides))]

    def row(self, number: int) -> dict[str, Any] | None:
        """What became of a job that `run` has sent."""
        return row_of(self.sweep, number)

    @abstractmethod
    def run(self, tickets: Iterator[Ticket]) -> None:
        """Have every ticket done; rows tell what became of it. The next call may follow: processes stay warm."""

    def close(self) -> None:
        """End the processes; the sweep is over."""


class Guard(Launcher):
    """Another launcher, whose failure costs no more than the jobs it was at."""

    def __init__(self, launcher: Launcher, config: DictConfig) -> None:
        self.launcher, self.fail_fast = launcher, bool(config.fail_fast)
        self.sweep = Path(config.hydra.sweep.dir)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The launcher within has been set up."""

    def close(self) -> None:
        if isinstance(self.launcher, Engine):
            self.launcher.close()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        for number, overrides in zip(numbers, job_overrides, strict=True):
            keep({"job": number, "overrides": " ".join(overrides), "status": WAITING}, self.sweep)
        cause = "the engine did not run this job"
        try:
            with stopping():
                self.launcher.launch(job_overrides, initial_job_idx)
        except Exception as crash:
            cause = f"the process of this job was lost ({type(crash).__name__})"
        except KeyboardInterrupt:
            self.settle(numbers, None)
            raise
        self.settle(numbers, cause)
        return [returned(row_of(self.sweep, number)) for number in numbers]

    def settle(self, numbers: Sequence[int], cause: str | None) -> None:
        """Jobs still waiting have failed, for ``cause``; or were never begun, and then have no row."""
        rows = [row for number in numbers if (row := row_of(self.sweep, number))]
        stopped = self.fail_fast and any(row["status"] == "failed" for row in rows)
        for row in rows:
            if row["status"] != WAITING:
                continue
            if cause is None or stopped:
                (self.sweep / f"{row['job']}.json").unlink()
            else:
                keep(row | failed(1, cause), self.sweep)


def guarded(launcher: Launcher, config: DictConfig) -> Engine | Guard:
    """The launcher, in a guard unless it needs none."""
    return launcher if isinstance(launcher, Engine) and launcher.careful else Guard(launcher, config)


def returned(row: Mapping[str, Any] | None) -> JobReturn:
    """What Hydra wants to hear of a job."""
    row = row or {}
    job = JobReturn(overrides=row.get("overrides", "").split(), status=JobStatus.COMPLETED)
    job.return_value = row.get("objective")
    return job


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """The first signal ends the engine: runs are safe against that, and engines wait in calls of their own."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
