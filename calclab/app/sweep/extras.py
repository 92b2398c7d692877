"""Engines that come with an extra, and what to type when it is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from calclab.errors import UserError

NEEDS = {  # option of hydra/launcher or hydra/sweeper -> extra, module
    "hydra/launcher=joblib": ("joblib", "joblib"),
    "hydra/launcher=submitit_local": ("submitit", "submitit"),
    "hydra/launcher=submitit_slurm": ("submitit", "submitit"),
    "hydra/launcher=ray": ("ray", "ray"),
    "hydra/sweeper=optuna": ("optuna", "optuna"),
}


def require(choices: Mapping[str, str | None]) -> None:
    """UserError when the engine chosen needs an extra that is not installed."""
    for group in ("hydra/launcher", "hydra/sweeper"):
        chosen = f"{group}={choices.get(group)}"
        extra, module = NEEDS.get(chosen, ("", ""))
        if extra and find_spec(module) is None:
            raise UserError(f"{chosen} needs an extra: pip install 'calclab[{extra}]'")
