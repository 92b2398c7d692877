"""Jobs on a Ray cluster. A job travels as a ticket, plain data composed here: its process needs no Hydra.

The plugin that exists for Hydra (1.2.2) wants a cloudpickle that today's joblib refuses, and AWS's client for any use.
All machines of a cluster must see this folder, as everywhere in the lab: what is computed is written there.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from calclab.app.sweep.engine import Engine
from calclab.app.sweep.isolated import isolated
from calclab.app.sweep.ticket import Ticket

PATIENCE = 15.0  # seconds for runs to be saved in, when the command is stopped


class RayLauncher(Engine):
    """``init`` is what ray.init is given, ``job`` what every job asks of the cluster (num_cpus, num_gpus, ...)."""

    def __init__(self, *, init: Mapping[str, Any], job: Mapping[str, Any]) -> None:
        self.init, self.job = plain(init), plain(job)

    def run(self, tickets: Iterator[Ticket]) -> None:
        import ray

        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if not ray.is_initialized():
            ray.init(**self.init | {"logging_level": logging.ERROR, "runtime_env": environment(self.init)})
        remote = ray.remote(isolated).options(max_retries=0, **self.job)
        jobs = [remote.remote(ticket, os.getcwd()) for ticket in tickets]
        lost: Exception | None = None
        try:
            for job in jobs:
                try:
                    ray.get(job)
                except ray.exceptions.RayError as error:  # the others go on
                    lost = error
        except KeyboardInterrupt:
            for job in jobs:
                ray.cancel(job)
            ray.wait(jobs, num_returns=len(jobs), timeout=PATIENCE, fetch_local=False)
            raise
        if lost is not None:
            raise lost

    def close(self) -> None:
        import ray

        ray.shutdown()


def environment(init: Mapping[str, Any]) -> dict[str, Any]:
    """Where a worker finds the modules that this process finds."""
    given = dict(init.get("runtime_env") or {})
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return given | {"env_vars": {"PYTHONPATH": paths} | dict(given.get("env_vars") or {})}


def plain(node: Mapping[str, Any]) -> dict[str, Any]:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node)  # type: ignore[return-value]
