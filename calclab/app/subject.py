"""The subject of a run, built: a function, or a network with its data."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import torch

from calclab.app.build import maker, own_function
from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.network import Network, network

FORMULAS = ("calclab.subject.formula.formula", "calclab.subject.links.links")


@functools.lru_cache(maxsize=256)
def parsed(node: str, dtype: torch.dtype, device: torch.device) -> Function:
    """A formula, read once a process: the jobs of a sweep have most of theirs in common."""
    known = json.loads(node)
    function: Function = maker(known)(name=known["name"], dtype=dtype, device=device)
    return function


def build(config: Mapping[str, Any], choices: Mapping[str, str | None], device: torch.device) -> Function | Network:
    """The subject that ``config`` has, on its device and in its precision."""
    place = {"dtype": getattr(torch, config["dtype"]), "device": device}
    if config.get("function"):
        node = dict(config["function"], name=config["function"].get("name") or choices["function"])
        if node["_target_"] in FORMULAS:
            return parsed(json.dumps(node), place["dtype"], device)
        return maker(node)(name=node["name"], **place)
    if not config.get("data"):
        raise UserError(f"network={choices['network']} needs data: name some, for example data=digits.")
    seed = config["seed"]
    data = maker(config["data"])(**place, seed=seed)
    node = dict(config["network"])
    common = {key: node.pop(key) for key in ("name", "weights", "parameters", "loss") if key in node}
    common["loss"] = own_function(common.get("loss"), "network.loss")
    return network(maker(node), data, **common, train=config["train"], seed=seed, **place)
