"""The optimizers that a comparison is between: options of conf/ by name, ``lbfgs+wolfe`` along a line search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calclab.errors import UserError
from calclab.schema import catalogue

Nodes = tuple[Mapping[str, Any], Mapping[str, Any] | None]  # of an optimizer and its line search


def compared(config: Mapping[str, Any]) -> dict[str, Nodes]:
    """What each is built from, in the order given. ``config`` has ``optimizers``, and ``settings`` of some of them."""
    names, settings = config["optimizers"], config.get("settings") or {}
    for group in ("optimizer", "line_search", "schedule"):
        if config.get(group):
            raise UserError(f"{group}=... is of one descent; a comparison takes optimizers='[gd,lbfgs+wolfe]'")
    if not names:
        raise UserError("optimizers=[]: nothing to compare. Type for example optimizers='[gd,adam]'")
    if stray := [name for name in settings if name not in names]:
        raise UserError(f"settings.{stray[0]}: it is not among optimizers={words(names)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"optimizers={words(names)}: {twice[0]} is there twice")
    return {str(name): nodes(str(name), settings.get(name) or {}) for name in names}


def nodes(name: str, settings: Any) -> Nodes:
    """Of one of them. ``settings`` are knobs of the optimizer."""
    own, _, search = name.partition("+")
    if not isinstance(settings, Mapping):
        raise UserError(f"settings.{name}={settings}: knobs by name. Type settings='{{{name}: {{momentum: 0.99}}}}'")
    node = dict(option("optimizer", own, name))
    if "lr" in settings:
        raise UserError(
            f"settings.{name}.lr: rates are tried out. Type rates='[1e-4,1,25]', or own='{{{name}: [0.1,1]}}'"
        )
    known = catalogue.knobs("optimizer", own)
    for key, value in settings.items():
        if key not in node:
            raise UserError(f"settings.{name}.{key}: {own} has no such knob. {nearest(key, node)}")
        if key in known:
            known[key].check(value, f"settings.{name}.{key}")
    return {**node, **settings}, option("line_search", search, name) if search else None


def option(group: str, wanted: str, name: str) -> Mapping[str, Any]:
    """What the YAML of an option says."""
    if catalogue.path(group, wanted) is None:
        raise UserError(f"optimizers={name}: {catalogue.unknown(group, wanted)}")
    found = catalogue.values(group, wanted)
    if found.get("_target_") in (None, "???"):
        raise UserError(f"optimizers={name}: {wanted} names no rule of its own, and cannot be compared by that name")
    return found


def nearest(key: str, node: Mapping[str, Any]) -> str:
    return catalogue.nearest(key, [knob for knob in node if knob not in ("lr", "_target_")]) or "It has none"


def words(names: Any) -> str:
    return f"[{','.join(map(str, names))}]"
