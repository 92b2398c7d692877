"""The lab's own sweeper and launcher: each job composed by a patch, run where a crash costs it alone.

Hydra finds plugins in the namespace package hydra_plugins; `calclab.app.studies.register` puts this folder on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from calclab.app.composer import Composer
from calclab.app.engine import Guard
from calclab.app.signals import signals
from calclab.app.worker import work_off


class LabSweeper(BasicSweeper):
    """Every combination; the values have been checked before Hydra started, so jobs are not composed to check them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        if not isinstance(self.launcher, LabLauncher):
            self.launcher = Guard(self.launcher, config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done by `check_sweep`."""


class LabLauncher(Launcher):
    """Jobs one after another in a worker process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.composer = Composer(hydra_context.config_loader, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        sweep = Path(self.config.hydra.sweep.dir)
        tickets = (
            self.composer.ticket(number, list(overrides), sweep)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        )
        returns = []
        with signals() as received:
            for row in work_off(tickets, received, self.config.fail_fast):
                returns.append(JobReturn(overrides=row["overrides"].split(), status=JobStatus.COMPLETED))
                returns[-1].return_value = row.get("objective")
        if received:
            raise KeyboardInterrupt(received[0])
        return returns
