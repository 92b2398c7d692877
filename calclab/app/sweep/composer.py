"""Configurations of jobs, quickly.

Hydra composes every job twice, at about 50 ms each. Here it composes the first job of a kind (the same groups chosen,
the same knobs named); the others of that kind differ in values only, and are made from it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from calclab.app.sweep.pattern import Pattern
from calclab.app.sweep.ticket import Ticket
from calclab.app.tree import is_literal

PARSED = 1024  # overrides kept as parsed: most are in every job


class Composer:
    """Makes the tickets of a sweep; ``config`` is the configuration of the sweep itself."""

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self.loader, self.config = loader, config
        parser = OverridesParser.create(config_loader=loader)
        self._parse = functools.lru_cache(PARSED)(lambda word: parser.parse_override(word))
        self._is_group = functools.cache(lambda key: bool(loader.get_group_options(key, results_filter=None)))
        self._patterns: dict[tuple[tuple[str, bool], ...], Pattern] = {}

    def ticket(self, number: int, overrides: list[str], sweep: Path) -> Ticket:
        parsed = [self._parse(word) for word in overrides]
        keys = [override.key_or_group for override in parsed if not self._is_group(override.key_or_group)]
        kind, values = [], []
        for word, override in zip(overrides, parsed, strict=True):
            if self._is_value(override) and alone(override.key_or_group, keys):
                value = override.value()
                kind.append((override.get_key_element(), isinstance(value, list)))  # lists cannot replace a dict
                values.append((override.key_or_group, value))
            else:
                kind.append((word, False))
        pattern = self._patterns.get(tuple(kind))
        if pattern is None:
            pattern = self._patterns[tuple(kind)] = Pattern(self.loader.load_sweep_config(self.config, overrides))
        return Ticket(number, overrides, pattern.filled(values), pattern.choices, sweep)

    def _is_value(self, override: Override) -> bool:
        """Whether an override puts a value in its place, where another would do as well."""
        return not override.is_delete() and not self._is_group(override.key_or_group) and is_literal(override.value())


def alone(key: str, keys: Sequence[str]) -> bool:
    """Whether no second one of ``keys`` is the same, within it or around it: then their order does not matter."""
    return sum(f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys) == 1
