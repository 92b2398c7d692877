"""What Hydra has against a configuration, in one short message, with the nearest name where one was misspelt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from calclab.schema import catalogue
from calclab.text import shortened

LONG = 300  # characters of what Hydra says


def explain(error: Exception, words: Sequence[str]) -> str:
    text = str(error)
    if found := re.search(r"Could not find '(hydra/\w+|\w+)/([^']+)'", text):
        return catalogue.unknown(*found.groups())
    if found := re.search(r"Could not override '([^']+)'", text):
        within = re.search(r"full_key: (\S+)", str(error.__cause__))
        return unknown(found.group(1), within.group(1) if within else found.group(1), words)
    if found := re.search(r"Interpolation key '([\w.]+)' not found\s+full_key: ([\w.]+)", text):
        name, key = found.groups()
        if word := referring(words):
            return f"{word}: this run has no {name} to refer to."
        return f"{key} needs {name}, which this topic does not have; leave {key} out."
    if found := re.search(r"Environment variable '([^']+)' not found", text):
        return (
            f"{referring(words) or found.group(1)}: the environment has no {found.group(1)}. Set it, or type a value."
        )
    if found := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"{found.group(1)} must be given: type {found.group(1)}=..."
    if found := re.match(r"Error merging override (.+)", text, re.DOTALL):
        word = shortened(found.group(1))
        return f"{word}: {word.partition('=')[0].lstrip('+')} cannot be that ({plainly(error.__cause__ or error)})."
    word = referring(words) if "full_key: hydra.overrides" in text else ""
    return f"{word}: {plainly(error)}" if word else plainly(error)


def unknown(typed: str, key: str, words: Sequence[str]) -> str:
    """What to say of ``key``, in the one ``typed``, that the configuration of ``words`` does not have."""
    if typed.startswith("hydra"):
        return f"{typed}: Hydra has no such knob."
    if key in catalogue.PARTS and key != typed:
        return f"{typed}: this run has no {key}. {catalogue.nearest('', catalogue.options(key), f'--help {key}')}"
    chosen = dict(word.split("=", 1) for word in words if word.partition("=")[0] in catalogue.GROUPS)
    topic = chosen.get("topic", "descent")
    known = [f"{group}.{name}" for group, option in chosen.items() for name in catalogue.knobs(group, option)]
    return catalogue.unknown_key(key, topic if topic in catalogue.options("topic") else "descent", known)


def referring(words: Sequence[str]) -> str:
    """The first word that refers to something."""
    return next((shortened(word) for word in words if "${" in word), "")


def plainly(error: BaseException) -> str:
    """An error's own words, without where Hydra has looked."""
    if isinstance(error, RecursionError):
        return "something refers to itself, through others or at once (a study to a study, a name to a name)"
    told = (str(error) or str(error.__cause__ or "")).partition("Config search path")[0]
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    aside = ("object_type", "reference_type", "full_key: hydra.overrides", "See https", "provider=")
    return shortened(" ".join(line for line in lines if not line.startswith(aside)) or type(error).__name__, LONG)
