"""Tab completion: commands, flags, groups and their choices, knobs and what they may be, files where one is named.

Answered from conf/ and the schemas alone, without Hydra, whose own completion composes a configuration at every Tab and
goes on from a value as if it were a name (``method=0=``). The shell's part, a function that calls the lab with
``-sc query=bash``, is Hydra's (``-sc install=bash``).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import get_origin

from calclab.app.commands import COMMANDS
from calclab.schema import Knob, catalogue
from calclab.schema.knob import written

FLAGS = ("--multirun", "-m", "--cfg", "--help", "--version")
PRINTED = ("job", "hydra", "all")  # what --cfg prints
LAUNCHING = ("hydra/launcher", "hydra/sweeper")
PATHS = ("data.path", "network.weights", "outputs")
LISTED = re.compile(r".*[\[,]\s*")  # of a list or a sweep, all but the entry being typed


def asked(words: Sequence[str]) -> bool:
    """Whether ``words`` are a shell that asks for completions."""
    return any(word.startswith("query=") for word in words) and {"-sc", "--shell-completion"} & set(words) != set()


def answer() -> str:
    """The completions of the line that the shell has put into its variables, one a line."""
    line = os.environ.get("COMP_LINE", "")
    point = os.environ.get("COMP_POINT", "")
    return "\n".join(offers(line[: int(point)] if point.isdigit() else line))


def offers(line: str) -> list[str]:
    """What may stand where ``line``, a command line from the program's name on, ends.

    >>> offers("calclab topic=importance method=occ")
    ['method=occlusion']
    >>> offers("calclab ru")
    ['runs']
    """
    program = r"\s*(\S*python[\d.]*\s+-m\s+calclab|\S+)\s"
    *before, typed = re.sub(program, "", f"{line}", count=1).split(" ") if re.match(program, line) else [line]
    before = [word for word in before if word]
    return [offer for offer in candidates(before, typed) if offer.startswith(typed)]


def candidates(before: Sequence[str], typed: str) -> Iterable[str]:
    """All that may stand after the words ``before``; of what is being ``typed``, the part before an = decides."""
    if before and before[0] in COMMANDS and before[0] != "help":
        return ()  # folders of runs: the shell completes those
    if before and before[-1] in ("--cfg", "-c"):
        return PRINTED
    if typed.startswith("-"):
        return FLAGS
    chosen = dict(word.split("=", 1) for word in before if "=" in word)
    knobs = known(chosen)
    key, equals, value = typed.partition("=")
    if before[:1] == ["help"]:
        return (*catalogue.GROUPS, *COMMANDS, *catalogue.options("topic"), *knobs, "all")
    if not equals:
        names = [name for name in knobs if "." not in name or "." in typed]
        parts = {f"{name.partition('.')[0]}." for name in knobs if "." in name}
        ends = [f"{name}=" for name in (*catalogue.GROUPS, *names, *LAUNCHING)]
        return [*([] if before else COMMANDS), *ends, *sorted(parts)]
    if key in PATHS:
        return (f"{key}={path}" for path in paths(value))
    inside = LISTED.match(value)
    start = inside[0] if inside else ("[" if key == "optimizers" or is_listed(knobs.get(key.lstrip("+~"))) else "")
    return (f"{key}={start}{entry}" for entry in values(key.lstrip("+~"), knobs))


def is_listed(knob: Knob | None) -> bool:
    """Does a knob take a list of some of its choices?"""
    return knob is not None and bool(knob.choices) and get_origin(knob.base) is list


def known(chosen: Mapping[str, str]) -> dict[str, Knob]:
    """The knobs that a run of these choices has, by what is typed for them."""
    topic = chosen.get("topic", "descent")
    options = {"data": "table", "network": "mlp", "function": "formula", **catalogue.default_of(topic), **chosen}
    found = dict(catalogue.root_knobs(topic)) if topic in catalogue.options("topic") else {}
    for group in catalogue.PARTS:
        found |= {f"{group}.{name}": knob for name, knob in catalogue.knobs(group, options.get(group, "")).items()}
    return found


def values(key: str, knobs: Mapping[str, Knob]) -> Sequence[str]:
    """What may stand behind ``key=``: the names of a group, the choices of a knob, else what it is typed like."""
    if key in (*catalogue.GROUPS, *LAUNCHING):
        return catalogue.options(key)
    if key == "optimizers":
        return catalogue.options("optimizer")
    knob = knobs.get(key)
    if knob is None:
        return ()
    if names := knob.choices or knob.names:
        return tuple(map(written, names))
    return ("true", "false") if knob.base is bool else (str(knob.example).strip("'"),)


def paths(typed: str) -> list[str]:
    """The files and folders whose names begin as typed."""
    found = sorted(glob.glob(f"{glob.escape(os.path.expanduser(typed))}*"))
    return [f"{path}/" if os.path.isdir(path) else path for path in found]
