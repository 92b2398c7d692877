"""Every value that a sweep will visit, held against its knob before the first job."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, QuotedString

from calclab.app.compose import compose, lab_config
from calclab.app.request import check_config
from calclab.app.sweep import extras
from calclab.app.words import read
from calclab.errors import UserError
from calclab.schema import catalogue


def check_sweep(words: Sequence[str]) -> str:
    """Every value that a sweep will visit, before its first job; the outputs folder that all of them have.

    Each combination of groups is composed once, with the first value of everything else; then every value of a swept
    knob is held against the same knob.
    """
    overrides = read(words, sweep=True)
    swept = [o for o in overrides if o.is_sweep_override()]
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    groups = [o for o in swept if o.key_or_group in catalogue.GROUPS]
    others = [o for o in swept if o.key_or_group not in catalogue.GROUPS and not is_hydra(o)]
    outputs = ""
    for chosen in itertools.product(*([f"{o.key_or_group}={option}" for option in visited(o)] for o in groups)):
        first = [f"{o.get_key_element()}={first_text(o)}" for o in others]
        config = compose([*fixed, *chosen, *first])
        choices = config.hydra.runtime.choices
        extras.require(choices)
        if choices["hydra/sweeper"] == "lab" and (
            searched := [o for o in others if isinstance(o.value(), IntervalSweep)]
        ):
            raise UserError(f"{searched[0].input_line} is searched, not listed: add hydra/sweeper=optuna")
        resolved = lab_config(config)
        check_config(resolved, choices)
        outputs = outputs or resolved["outputs"]
        for override in others:
            group, _, name = override.key_or_group.rpartition(".")
            known = (
                catalogue.knobs(group, choices.get(group) or "") if group else catalogue.root_knobs(choices["topic"])
            )
            for value in visited(override):
                if name in known and "${" not in str(value):  # what it refers to is held against it job by job
                    known[name].check(value, override.key_or_group)
    return outputs


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
