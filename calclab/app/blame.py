"""Whose mistake an error is. What the user's own module, function or data raise is told in a sentence that names the
file and the line, and so is what torch refuses to do with them; all else is a crash of the lab's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from calclab.errors import UserError, error_line, origin, raised


def blame(error: BaseException, config: Mapping[str, Any]) -> UserError | None:
    """The user's mistake that an error tells of; None where it is the lab's, or the keyboard's."""
    if isinstance(error, UserError):
        return error
    where, named = innermost(error.__traceback__), targets(config)
    if where == "hydra" and error.__cause__ is not None:  # which wraps what an object says while it is made
        return blame(error.__cause__, config)
    if isinstance(error, MemoryError) or where == "calclab":
        return None
    if isinstance(error, KeyboardInterrupt) and not raised(error):
        return None
    if not isinstance(error, Exception):
        return UserError(f"{whose(config)} raised {error_line(error)}, and a run ends by itself. Take it out there")
    if origin(error):
        return UserError(f"{whose(config)} raised {error_line(error)}. Mend it there, and type the same command")
    if named and (where == "torch" or where in dict(named)):
        return UserError(f"{whose(config)}: {where} raised {error_line(error)}")
    return None


def targets(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the user named by ``_target_``: its package, and how to speak of it."""
    found = []
    for group in ("network", "function", "data"):
        node = config.get(group)
        target = (node.get("callable") or node.get("_target_")) if isinstance(node, Mapping) else None
        if isinstance(target, str) and not target.startswith("calclab."):
            found.append((target.partition(".")[0], f"{group}={target}"))
    return found


def whose(config: Mapping[str, Any]) -> str:
    """How to speak of the user's code."""
    return " or ".join(name for _, name in targets(config)) or "the code"


def innermost(trace: TracebackType | None) -> str:
    """The package of the innermost code in a traceback."""
    name = ""
    while trace is not None:
        name, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return name.partition(".")[0]
