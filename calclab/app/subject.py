"""The subject of a run: a function, or a network with its data. Naming both is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from calclab.app import catalogue
from calclab.app.build import maker
from calclab.core import Function
from calclab.errors import UserError
from calclab.function.network import Network, network


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


def build(
    kind: str, config: Mapping[str, Any], choices: Mapping[str, str | None], device: torch.device
) -> Function | Network:
    """The subject, on its device and in its precision."""
    place = {"dtype": getattr(torch, config["dtype"]), "device": device}
    if kind == "function":
        return maker(config["function"])(name=config["function"].get("name") or choices["function"], **place)
    if not config.get("data"):
        raise UserError(f"network={choices['network']} needs data: name some, for example data=digits.")
    seed = config["seed"]
    data = maker(config["data"])(**place, seed=seed)
    node = dict(config["network"])
    common = {key: node.pop(key) for key in ("name", "weights", "parameters", "loss") if key in node}
    return network(maker(node), data, **common, train=config["train"], seed=seed, **place)
