"""The lab's own sweeper and launcher: each job composed by a patch, run where a crash costs it alone.

Hydra finds plugins in the namespace package hydra_plugins; `calclab.app.studies.register` puts this folder on the path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from calclab.app.signals import signals
from calclab.app.sweep.engine import Engine, guarded
from calclab.app.sweep.ticket import Ticket, announce
from calclab.app.sweep.worker import Worker, work_off


class LabSweeper(BasicSweeper):
    """Every combination; the values have been checked before Hydra started, so jobs are not composed to check them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        self.launcher = self.engine = guarded(self.launcher, config)

    def sweep(self, arguments: list[str]) -> None:
        try:
            super().sweep(arguments)
        finally:
            self.engine.close()

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        if self.batch_index == 0 and self.config is not None and self.overrides is not None:
            announce(Path(self.config.hydra.sweep.dir), sum(map(len, self.overrides)))
        return super().get_job_batch()

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done by `check_sweep`."""


class LabLauncher(Engine):
    """Jobs one after another in a worker process."""

    careful = True

    def __init__(self) -> None:
        self.worker = Worker()

    def run(self, tickets: Iterator[Ticket]) -> None:
        with signals() as received:
            for _ in work_off(tickets, self.worker, received, self.fail_fast):
                pass
        if received:
            raise KeyboardInterrupt(received[0])

    def close(self) -> None:
        self.worker.close()
