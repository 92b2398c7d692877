"""The words typed, made ready for Hydra: what the shell passed is what the lab gets.

Hydra's grammar would read the commas of ``x0**2+x1, x0*x1`` as a sweep, ``sin(x)`` as an unknown function and ``3`` as
a number, so the values of the formula keys are quoted before Hydra sees them. And naming a part of a subject names
its kind: ``function.expr=...`` means ``function=formula``, ``network._target_=...`` means ``network=custom``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from calclab.errors import UserError

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
    "optimizer._target_": "optimizer=custom",
}
# options that are the user's own, and the knobs that the lab itself knows of them; all others go to what is built
OWN = {"network": ("_target_", "weights", "parameters", "loss"), "optimizer": ("_target_", "lr")}


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
