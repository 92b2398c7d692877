"""From a resolved configuration and a subject to a topic: the method with its parts, built and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calclab.app import rule
from calclab.app.build import maker
from calclab.app.rivals import rivals
from calclab.core import Function, Topic
from calclab.subject.network import Network

LARGE = 10**8  # parameters × rows at once from which on threads pay


def build_topic(config: Mapping[str, Any], about: Function | Network) -> Topic:
    if "optimizers" in config:
        parts: dict[str, Any] = {"rules": rivals(config)}
    else:
        parts = walking(config) if config.get("optimizer") else {}
    return maker(config["topic"])(subject=about, **parts)


def walking(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a descent: its rule and its schedule."""
    made = rule.build(config["optimizer"], config.get("line_search"))
    return {"optimizer": made, "schedule": maker(config["schedule"]) if config.get("schedule") else None}


def work(about: Function | Network, batch: Any) -> int:
    """A measure of what one evaluation costs: parameters × rows."""
    if isinstance(about, Function):
        return 0
    rows = batch if isinstance(batch, int) else len(about.rows)
    return rows * sum(p.numel() for p in about.parameters().values())
