"""Every value against its knob, before anything is built: over a whole sweep, and again for each job as composed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, QuotedString
from hydra.errors import HydraException

from calclab.app import catalogue, extras
from calclab.app.compose import compose, explain, plain
from calclab.errors import UserError


def check_config(config: Mapping[str, Any], choices: Mapping[str, str | None]) -> None:
    """Every knob of a composed configuration has its type and lies in its range; UserError names the first that not."""
    topic = choices["topic"] or ""
    for name, knob in catalogue.root_knobs(topic).items():
        if name in config:
            knob.check(config[name])
    for group in catalogue.PARTS:
        option = choices.get(group)
        for name, knob in (catalogue.knobs(group, option) if option else {}).items():
            if isinstance(config.get(group), Mapping) and name in config[group]:
                knob.check(config[group][name], f"{group}.{name}")


def check_sweep(words: Sequence[str]) -> None:
    """Every value that a sweep will visit, before its first job.

    Each combination of groups is composed once, with the first value of everything else; then every value of a swept
    knob is held against the same knob.
    """
    overrides = parse(words)
    swept = [o for o in overrides if o.is_sweep_override()]
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    groups = [o for o in swept if o.key_or_group in catalogue.GROUPS]
    others = [o for o in swept if o.key_or_group not in catalogue.GROUPS and not is_hydra(o)]
    for chosen in itertools.product(*([f"{o.key_or_group}={option}" for option in visited(o)] for o in groups)):
        first = [f"{o.get_key_element()}={first_text(o)}" for o in others]
        config = compose([*fixed, *chosen, *first])
        choices = config.hydra.runtime.choices
        extras.require(choices)
        if choices["hydra/sweeper"] == "lab" and (
            searched := [o for o in others if isinstance(o.value(), IntervalSweep)]
        ):
            raise UserError(f"{searched[0].input_line} is searched, not listed: add hydra/sweeper=optuna")
        check_config(plain(config), choices)
        for override in others:
            group, _, name = override.key_or_group.rpartition(".")
            known = (
                catalogue.knobs(group, choices.get(group) or "") if group else catalogue.root_knobs(choices["topic"])
            )
            for value in visited(override):
                if name in known:
                    known[name].check(value, override.key_or_group)


def parse(words: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise UserError(explain(error, words)) from error


def is_hydra(override: Override) -> bool:
    return override.key_or_group.startswith("hydra")


def visited(override: Override) -> list[Any]:
    """The values that a sweep override stands for, as the jobs will see them; the ends of an interval."""
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(catalogue.options(override.key_or_group))
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return [entry.text if isinstance(entry, QuotedString) else entry for entry in override.sweep_iterator()]


def first_text(override: Override) -> str:
    """The first of the values as a command line would give it, quoted where it was."""
    value = override.value()
    return str(value.start) if isinstance(value, IntervalSweep) else next(iter(override.sweep_string_iterator()))
