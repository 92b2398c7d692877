"""What a run is about: a function, or a network with its data. Naming both is refused. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calclab.app import catalogue
from calclab.errors import UserError


def chosen(choices: Mapping[str, str | None], words: Sequence[str]) -> str:
    """ "function" or "network".

    A topic brings a subject of its own; whoever names the other kind gives that up. Both named, on the command line
    or by a study, is a question with two answers.
    """
    default = default_of(choices["topic"] or "")
    typed = {word.lstrip("+").partition("=")[0].partition(".")[0] for word in words}
    named = {
        kind
        for kind in ("function", "network")
        if choices.get(kind) and (kind in typed or choices[kind] != default.get(kind))
    }
    if "data" in typed and not named and not default.get("network"):
        raise UserError("data=... goes with a network: name one, for example network=mlp.")
    if named == {"function", "network"}:
        raise UserError(
            f"function={choices['function']} and network={choices['network']} are both named, and a run has one "
            "subject. Leave one out, or set it to null."
        )
    kinds = named or {kind for kind in ("function", "network") if choices.get(kind)}
    if not kinds:
        raise UserError("no subject: name a function (function=rosenbrock) or a network (network=mlp).")
    return kinds.pop()


def default_of(topic: str) -> dict[str, str]:
    """The groups that a topic chooses by itself."""
    entries = catalogue.values("topic", topic).get("defaults", [])
    pairs = ((key, option) for entry in entries if isinstance(entry, dict) for key, option in entry.items())
    return {key.removeprefix("override ").lstrip("/"): option for key, option in pairs}


def trimmed(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration without the default subject that was given up: it has no part in the run."""
    gone = ("network", "data") if kind == "function" else ("function",)
    return {key: value for key, value in config.items() if key not in gone}
