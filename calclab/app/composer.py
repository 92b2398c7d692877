"""Configurations of jobs, quickly.

Hydra composes every job twice, at about 50 ms each. Here a combination of groups is composed once, and a job's values
are set in a copy, which gives the same configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from calclab.app.compose import plain
from calclab.app.perform import Ticket


class Composer:
    """Configurations of jobs: composed by Hydra for every new combination of groups, patched for new values."""

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self.loader, self.config = loader, config
        self.parser = OverridesParser.create(config_loader=loader)
        self._groups: dict[str, bool] = {}
        self._known: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}

    def ticket(self, number: int, overrides: list[str], sweep: Path) -> Ticket:
        parsed = self.parser.parse_overrides(overrides)
        plain_values = [o for o in parsed if self._is_value(o)]
        fixed = [str(o.input_line) for o in parsed if o not in plain_values]
        key = (*fixed, "|", *(o.key_or_group for o in plain_values))
        if key not in self._known:
            composed = self.loader.load_sweep_config(self.config, overrides)
            choices = dict(composed.hydra.runtime.choices)
            with open_dict(composed):
                del composed["hydra"]
            self._known[key] = (composed, choices)
        base, choices = self._known[key]
        config = base.copy()
        for override in plain_values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        return Ticket(number, overrides, plain(config), choices, sweep)

    def _is_value(self, override: Any) -> bool:
        """Whether an override only sets a value that is there: not a group, an addition or a deletion."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self.loader.get_group_options(key))
        return override.type.name == "CHANGE" and not self._groups[key]
