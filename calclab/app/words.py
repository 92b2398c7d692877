"""The words of a command line, parsed, and held against what no composing is needed for: names of groups, choices
made twice, knobs taken away, more jobs than anybody waits for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, RangeSweep, Sweep

from calclab.app import catalogue
from calclab.errors import UserError
from calclab.text import shortened

MOST = 1_000_000  # jobs of a sweep
SEVERAL = ("experiment",)  # groups of which a list may be chosen: studies put together


def read(words: Sequence[str], *, sweep: bool) -> list[Override]:
    """The overrides that ``words`` are; UserError for one that cannot be read, or that no run, or no ``sweep``, has."""
    overrides = [parsed(word) for word in words]
    known: dict[str, tuple[str, bool]] = {}
    for word, override in zip(words, overrides, strict=True):
        refuse(override)
        key = override.get_key_element().lstrip("+~")
        before, swept = known.get(key, ("", False))
        if before and (is_group(key) or swept or override.is_sweep_override()):  # of plain values the last counts
            raise UserError(f"{key} is given twice: {shortened(before)} and {shortened(word)}. Leave one out.")
        known[key] = word, override.is_sweep_override()
        if override.is_sweep_override() and not sweep:
            raise UserError(
                f"{shortened(word)} stands for several values: add -m for a sweep, or quotes if it is one text."
            )
    jobs = math.prod(count(override) for override in overrides)
    if jobs > MOST:
        raise UserError(f"these are {jobs:.6g} jobs: a sweep has at most {MOST}. Type fewer values.")
    return overrides


def parsed(word: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except Exception as error:  # of the grammar, or of a number too long to be one
        why = reason(error)
        raise UserError(
            f"cannot read {shortened(word)}{f' ({why})' if why else ''}: type name=value, with quotes around text "
            "('name=\"a, b\"')."
        ) from error
    return override


def reason(error: BaseException) -> str:
    """What one of the lab's own functions for sweeps has against its arguments; of the grammar's errors nothing."""
    cause = error.__cause__ or error
    return shortened(str(cause)) if type(cause) is ValueError else ""


def refuse(override: Override) -> None:
    """UserError for a name that is no name, a group that is no text, and a knob taken away."""
    key, word = override.key_or_group, shortened(str(override.input_line))
    if not isinstance(key, str) or not key.strip("."):
        raise UserError(f"{word}: there is no name before the =. Type name=value.")
    if override.is_delete() and (key == "topic" or (key not in catalogue.GROUPS and "." not in key)):
        raise UserError(f"{word}: {key} has to have a value. Leave {word} out, or type {key}=...")
    if isinstance(override.value(), Glob) and key not in catalogue.GROUPS:
        raise UserError(f"{word}: glob finds names of a group, and {key} is none. Type the values: {key}=a,b,c")
    if is_group(key) and not override.is_delete():
        for option in options(override):
            if not isinstance(option, str) or not option:
                raise UserError(f"{word}: {catalogue.named(key, option)}")
            if option.endswith((".yaml", ".yml")) or ".." in option:
                raise UserError(catalogue.unknown(key, option.removesuffix(".yaml").removesuffix(".yml")))


def is_group(key: str) -> bool:
    return key in catalogue.GROUPS or key.startswith("hydra/")


def options(override: Override) -> Sequence[object]:
    """What is chosen of a group."""
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(catalogue.options(override.key_or_group)) or [""]
    if isinstance(value, ChoiceSweep):
        return [entry.text if isinstance(entry, QuotedString) else entry for entry in value.list]
    if isinstance(value, list) and override.key_or_group in SEVERAL:
        return value or [""]
    return [value]


def count(override: Override) -> int:
    """How many values an override stands for, without listing them."""
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(number or 0) for number in (value.start, value.stop, value.step))
        if not step:
            raise UserError(f"{override.input_line}: the third number is the step, and 0 never gets there.")
        return max(0, math.ceil((stop - start) / step))
    if isinstance(value, ChoiceSweep):
        if any(isinstance(entry, Sweep | Glob) for entry in value.list):
            raise UserError(f"{override.input_line}: one of several values stands for several. Type all of them.")
        return len(value.list)
    return len(options(override)) if isinstance(value, Glob) else 1
