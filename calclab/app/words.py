"""The words of a command line: made ready for Hydra, so that what the shell passed is what the lab gets; then parsed,
and held against what no composing is needed for.

Hydra's grammar would read the commas of ``x0**2+x1, x0*x1`` as a sweep, ``sin(x)`` as an unknown function and ``3`` as
a number, so the values of the formula keys are quoted before Hydra sees them. And naming a part of a subject names
its kind: ``function.expr=...`` means ``function=formula``, ``network._target_=...`` means ``network=custom``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, RangeSweep, Sweep

from calclab.errors import UserError
from calclab.schema import catalogue
from calclab.text import shortened

FORMULA_KEYS = ("function.expr", "function.links")
# Texts that may look like something else: layer=0, target=true, data.na=-999, data.separator=;
TEXT_KEYS = ("layer", "target", "data.target", "data.na", "data.separator")
SWEEPS = r"(choice|range|interval|glob|shuffle|sort|tag|linspace|logspace)\(|[\[{]"
FILE_KEYS = ("network.weights", "data.path")  # the folders of runs have commas and = in their names
FOLDER = "outputs"  # any text, in which a reference stays one: outputs='${oc.env:HOME}/my runs'
IMPLIED = {
    "function.expr": "function=formula",
    "function.links": "function=links",
    "function._target_": "function=custom",
    "network._target_": "network=custom",
    "data._target_": "data=custom",
    "optimizer._target_": "optimizer=custom",
}
# options that are the user's own, and the knobs that the lab itself knows of them; all others go to what is built
OWN = {
    "network": ("_target_", "weights", "parameters", "loss"),
    "data": ("_target_", "name", "target", "features", "classes", "memory", "standardize", "held_out"),
    "optimizer": ("_target_", "lr"),
}
MOST = 1_000_000  # jobs of a sweep
SEVERAL = ("experiment",)  # groups of which a list may be chosen: studies put together


# --- what Hydra is to see ---


def prepare(argv: Sequence[str]) -> list[str]:
    """The arguments as Hydra should see them."""
    words = [quote(word) for word in argv]
    keys = [key_of(word) for word in words]
    for key, choice in IMPLIED.items():
        group = choice.partition("=")[0]
        if key not in keys:
            continue
        named = [word for word in words if word.startswith(f"{group}=")]
        if named and named != [choice]:
            raise UserError(f"{named[0]} and {key}=... name two subjects. Leave one of them out.")
        if not named:
            words.append(choice)
    if "function._target_" in keys:
        words = [
            "function.callable" + word[len("function._target_") :] if key_of(word) == "function._target_" else word
            for word in words
        ]
    for group, known in OWN.items():
        if f"{group}=custom" in words:
            words = [open_key(word, group, known) for word in words]
    return words


def key_of(word: str) -> str:
    return word.partition("=")[0].lstrip("+~") if "=" in word else ""


def quote(word: str) -> str:
    """A formula, a text or the name of a file, in quotes, so that Hydra passes it on letter by letter; the rest as it
    is."""
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    file = name in FILE_KEYS and os.path.exists(os.path.expanduser(value))
    folder = name == FOLDER and value not in ("", "null") and not re.match(SWEEPS, value)
    if not equals or not (file or folder or name in FORMULA_KEYS or (name in TEXT_KEYS and single(value))):
        return word
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return word  # already quoted, for Hydra or for a sweep over formulas
    letters = text(value)
    return f"{key}={letters}" if folder else f"{key}={letters}".replace("${", "\\${")


def text(value: str) -> str:
    """A text as Hydra reads it letter by letter; it halves only the backslashes that stand before a quote."""
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value)
    return f'"{escaped}"'


def single(value: str) -> bool:
    """Whether this is one text, and neither null nor several to sweep over: commas within parentheses are its own."""
    flat, before = value, ""
    while flat != before:
        flat, before = re.sub(r"\([^()]*\)", "", flat), flat
    return value == "," or (value not in ("", "null") and "," not in flat and not re.match(SWEEPS, value))


def open_key(word: str, group: str, known: Sequence[str]) -> str:
    """A keyword argument of the user's own network or optimizer: no configuration can know it, so it is added."""
    key = key_of(word)
    own = key.startswith(f"{group}.") and key.removeprefix(f"{group}.") not in known
    return f"+{word}" if own and not word.startswith(("+", "~")) else word


# --- what it is ---


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
    if "space(" in word:  # of the lab's own functions for sweeps
        from calclab.app.sweep import spacing

        spacing.register()
    try:
        override = OverridesParser.create().parse_override(word)
    except Exception as error:  # of the grammar, or of a number too long to be one
        why = reason(error)
        if "=" not in word:
            raise UserError(
                f"cannot read {shortened(word)}: it is no knob, choice or command. Type name=value, or calclab help"
            ) from error
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
