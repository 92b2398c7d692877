"""What a run is about, in a line under the titles of its pictures: the point, or network and data; method and rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from calclab.core import Function
from calclab.subject.network import Network

LISTED = 4  # coordinates of a point that are named


def about(topic: str, subject: Function | Network, config: Mapping[str, Any]) -> str:
    """Such as "from (1, 0.5)  ·  gradient descent  ·  lr = 0.05"."""
    if isinstance(subject, Network):
        count, rows = sum(subject.sizes), len(subject.data.inputs)
        parts = [f"{count:,} parameters", f"{subject.data.name}, {rows:,} row{'s' * (rows != 1)}", subject.loss_name]
    else:
        parts = [place(subject, "from" if topic == "descent" else "at")] if topic != "comparison" else []
    if topic == "descent":
        parts += [kind(config.get(group)) for group in ("optimizer", "line_search", "schedule")]
        parts.append(f"lr = {config['lr']:.4g}" if isinstance(config.get("lr"), int | float) else "")
        parts += [f"{name} = {value}" for name, value in chosen(config, config.get("optimizer"))]
    elif topic == "importance":
        parts += [f"{name} = {value}" for name, value in chosen(config, None)]
    return "  ·  ".join(filter(None, parts))


def place(function: Function, word: str) -> str:
    """The start, where it is short."""
    x = function.start.reshape(-1).tolist()
    if len(x) > LISTED:
        return ""
    listed = ", ".join(f"{v:.4g}" for v in x)
    return f"{word} {function.variables[0]} = {listed}" if len(x) == 1 else f"{word} ({listed})"


def kind(node: Any) -> str:
    """The class that a node names, in words: gradient descent, Adam; empty where nothing is named."""
    if not isinstance(node, Mapping):
        return ""
    made = node.get("made")
    name = str(node.get("_target_", "")).rpartition(".")[2] if made is None else type(made).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words.lower() if " " in words else words


def chosen(config: Mapping[str, Any], node: Any) -> list[tuple[str, Any]]:
    """Knobs that are set and belong into a title."""
    own = {**config, **(node if isinstance(node, Mapping) else {})}
    names = ("momentum", "batch") if node is not None else ("target",)
    return [(name, own[name]) for name in names if own.get(name) is not None]
