"""Engines that are not ours: Hydra's launchers for other processes and machines, held to what ours promises.

A job runs in a child of the engine's process, so that a crash is its own loss; and every job has a row from the start,
so that none is missing when an engine gives up half way.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from calclab.app.perform import Ticket, failed, keep
from calclab.app.signals import signals
from calclab.app.worker import Worker

WAITING = "waiting"


class Guard(Launcher):
    """Another launcher, whose failure costs no more than the jobs it was at."""

    def __init__(self, launcher: Launcher, config: DictConfig) -> None:
        self.launcher, self.fail_fast = launcher, bool(config.fail_fast)
        self.sweep = Path(config.hydra.sweep.dir)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The launcher within has been set up."""

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
        return [returned(self.sweep, number) for number in numbers]

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


def row_of(sweep: Path, number: int) -> dict[str, Any] | None:
    """The row of a job, as its process wrote it."""
    try:
        return json.loads((sweep / f"{number}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def returned(sweep: Path, number: int) -> JobReturn:
    row = row_of(sweep, number) or {}
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


@cache
def own_worker() -> Worker:
    """The child of this process in which its jobs run. Spawned: engines have threads, which a fork breaks."""
    multiprocessing.set_start_method(
        "spawn", force=True
    )  # joblib has set its own, which a child would look for in vain
    worker = Worker("spawn")
    atexit.register(worker.close)
    return worker


def isolated(ticket: Ticket, home: str) -> dict[str, Any]:
    """Perform the job in a child of this process, in the folder ``home`` of the sweep; its row."""
    os.chdir(home)
    if home not in sys.path:
        sys.path.insert(0, home)
    if ticket.config["fail_fast"] and any(row["status"] == "failed" for row in rows(ticket.sweep)):
        return {"exit": 0}  # left out: another has failed
    with signals() as received:
        return own_worker().do(ticket, received)


def rows(sweep: Path) -> list[dict[str, Any]]:
    """The rows of all jobs, in order."""
    files = sorted(sweep.glob("[0-9]*.json"), key=lambda file: int(file.stem))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]
