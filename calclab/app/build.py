"""From a node of a configuration to an object: what ``_target_`` names, called with the rest.

Hydra's instantiate does the same for nodes within nodes, and is asked for those; for the plain ones it costs more than
many a run, and would turn a dataclass that it is given into a dict.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from calclab.errors import UserError

LABELS = ("_target_", "name")  # of a group; its name is for readers of the configuration


def maker(node: Mapping[str, Any]) -> Callable[..., Any]:
    """What makes the object of ``node``, all but called."""
    target = node.get("_target_")
    if not isinstance(target, str):
        raise UserError(f"_target_={target}: it is the dotted path of what to call, such as my.module.Net")
    knobs = {key: value for key, value in node.items() if key not in LABELS}
    if nested(knobs):
        from hydra.utils import instantiate

        knobs = {key: instantiate(value, _convert_="all") if nested(value) else value for key, value in knobs.items()}
    return functools.partial(find(target), **knobs)


def nested(value: Any) -> bool:
    """Whether a further ``_target_`` lies within."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(nested, value.values()))
    return isinstance(value, list) and any(map(nested, value))


def find(target: str, key: str = "_target_") -> Callable[..., Any]:
    """The object at a dotted path; UserError when there is none."""
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={target}: {error}. Is it spelt right, and where Python looks for modules?") from None


def own_function(given: Any, key: str) -> Any:
    """A function of the user's, such as a loss: by its dotted path, or as a mapping with ``_target_`` and its knobs. A
    class is called, with these or none. Anything else is what it is: the name of one of the lab's."""
    if isinstance(given, Mapping):
        return maker(given)()
    if not isinstance(given, str) or "." not in given:
        return given
    found = find(given, key)
    if not isinstance(found, type):
        return found
    try:
        return found()
    except TypeError as error:
        raise UserError(f"{key}={given}: {error}. Give its knobs: {key}='{{_target_: {given}, knob: 2}}'") from error
