"""A plain configuration, dicts and lists: values put in place, and references such as ``${lr}`` followed."""

from __future__ import annotations

import re
from typing import Any

REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}")
MISSING = "???"
DEPTH = 10  # of references to references


class NotPlainError(Exception):
    """A plain tree is not enough here."""


def is_literal(value: Any) -> bool:
    """Whether a value stands for itself and takes the place of another: a scalar or a list of such.

    A dict does not: it is merged with what is there.
    """
    if isinstance(value, list):
        return all(map(is_literal, value))
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    return value is None or isinstance(value, bool | int | float)


def place(tree: Any, key: str, value: Any) -> None:
    """Put ``value`` where ``key`` (a.b.c) has a scalar or a list."""
    *path, last = key.split(".")
    for part in path:
        tree = child(tree, part)
    if isinstance(child(tree, last), dict):
        raise NotPlainError
    tree[last] = value


def resolved(node: Any, root: Any, depth: int = DEPTH) -> Any:
    """A copy of ``node`` in which references are what they refer to."""
    if isinstance(node, dict):
        return {key: resolved(entry, root, depth) for key, entry in node.items()}
    if isinstance(node, list):
        return [resolved(entry, root, depth) for entry in node]
    if not isinstance(node, str) or is_literal(node):
        return node
    reference = REFERENCE.fullmatch(node)
    if reference is None or depth == 0:
        raise NotPlainError
    found = root
    for part in reference[1].split("."):
        found = child(found, part)
    return resolved(found, root, depth - 1)


def child(tree: Any, part: str) -> Any:
    if not isinstance(tree, dict) or part not in tree:
        raise NotPlainError
    return tree[part]
