"""What there is to choose from, read from conf/ and the schemas alone: no Hydra, no torch, so that help is quick."""

from __future__ import annotations

import difflib
import importlib
import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_origin

from calclab.schema import aliases
from calclab.schema.knob import Knob, Schema
from calclab.schema.knob import knobs as knobs_of

PARTS = ("function", "network", "data", "optimizer", "line_search", "schedule", "law")  # what a run is made of
GROUPS = ("topic", *PARTS, "experiment")
LISTED, LENGTH = 24, 400  # names and characters of names, at most, in one message
PACKAGE = Path(__file__).resolve().parent.parent


def home(name: str) -> Path:
    """The lab's own ``conf`` or ``experiments``: inside an installed package, or beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def study_folders() -> list[Path]:
    """Every folder of studies: the user's own ``experiments/`` in the current folder first, then the lab's."""
    found = [Path.cwd() / "experiments", home("experiments")]
    return [folder for i, folder in enumerate(found) if folder.is_dir() and folder not in found[:i]]


def folders(group: str) -> list[Path]:
    return study_folders() if group == "experiment" else [home("conf") / group]


def options(group: str) -> list[str]:
    """The options of a group, by name: "rosenbrock"; of studies "notebook/cubic"; of one of Hydra's, the lab's own."""
    return list(named_in(group) if group != "experiment" else names(group))


@cache
def named_in(group: str) -> tuple[str, ...]:
    """The options of a group of the lab's own, which stay what they are; studies come and go with the folder."""
    return tuple(names(group))


def names(group: str) -> list[str]:
    found = {
        str(path.relative_to(folder).with_suffix("")) for folder in folders(group) for path in folder.rglob("*.yaml")
    }
    return sorted(found)


def path(group: str, option: str) -> Path | None:
    if len(option) > LENGTH // 2:  # no file has such a name
        return None
    places = (folder / f"{option}.yaml" for folder in folders(group))
    return next((place for place in places if place.is_file()), None)


def comments(group: str, option: str) -> list[str]:
    """The comment lines that an option begins with, but for Hydra's own."""
    place = path(group, option)
    try:
        lines = place.read_text(encoding="utf-8", errors="replace").splitlines() if place else []
    except OSError:  # another user's study
        lines = []
    first = itertools.takewhile(lambda line: line.strip().startswith("#"), lines)
    return [line.strip().lstrip("#") for line in first if not line.strip().lstrip("# ").startswith("@package")]


def description(group: str, option: str) -> str:
    """The first comment line of an option that says what it is."""
    return next((line.strip().rstrip(".") for line in comments(group, option)), "")


def examples(group: str, option: str) -> list[str]:
    """The command lines among the comments of an option, without the program's name."""
    return [line.strip().removeprefix("calclab ") for line in comments(group, option) if line.startswith("   calclab ")]


@cache
def values(group: str, option: str) -> dict[str, Any]:
    """What an option's YAML says, unresolved."""
    import yaml

    place = path(group, option) if group else home("conf") / f"{option}.yaml"
    return (yaml.load(place.read_text(encoding="utf-8"), yaml.CSafeLoader) or {}) if place else {}


@cache
def find(group: str, option: str) -> dict[str, Knob]:
    """The knobs of one option of a group ("topic", "descent"), by name; empty when it has no schema (a user's own)."""
    schema = schemas(group).get(option.replace("_", "").lower())
    return {} if schema is None else knobs_of(schema)


@cache
def schemas(group: str) -> dict[str, type[Schema]]:
    """The schemas of a group, each by the name of its option without underscores."""
    module = importlib.import_module(f"calclab.schema.{group}")
    own = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__)
    return {schema.__name__.lower(): schema for schema in own if issubclass(schema, Schema)}


def default_of(option: str, group: str = "topic") -> dict[str, str]:
    """The groups that a topic, or an option of another ``group``, chooses by itself."""
    entries = values(group, option).get("defaults", [])
    pairs = ((key, chosen) for entry in entries if isinstance(entry, dict) for key, chosen in entry.items())
    return {key.removeprefix("override ").lstrip("/").partition("@")[0]: chosen for key, chosen in pairs}


def knobs(group: str, option: str) -> dict[str, Knob]:
    if group == "function":  # of the zoo: its knobs are those of what it is written as
        option = str(values(group, option).get("_target_", option)).rpartition(".")[2]
    everyone = find("common", "common") if group == "topic" else {}
    return {name: knob for name, knob in find(group, option).items() if name not in everyone}


def taken(topic: str) -> list[str]:
    """The knobs at the root that the topic is built with."""
    return [name for name, knob in find("topic", topic).items() if not knob.aside]


def root_knobs(topic: str) -> dict[str, Knob]:
    """What may be set at the root of the configuration: the topic's own knobs, then those that every run has."""
    return knobs("topic", topic) | knobs("common", "common")


# --- knobs by their names alone, whatever is chosen ---


@cache
def homes() -> dict[str, dict[str, Knob]]:
    """Every knob by what is typed for it ("lr", "network.width"), with the topics or options that have it."""
    found: dict[str, dict[str, Knob]] = {}
    for name, knob in knobs("common", "common").items():
        found[name] = {"every run": knob}
    for group in ("topic", *PARTS):
        for option, schema in schemas(group).items():
            for name, knob in knobs_of(schema).items():
                if group != "topic" or "every run" not in found.get(name, ()):
                    found.setdefault(name if group == "topic" else f"{group}.{name}", {})[option] = knob
    return found


def anywhere(key: str) -> Knob | None:
    """A knob of that name, of the first that has one."""
    return next(iter(homes().get(key, {}).values()), None)


def listed(key: str) -> bool:
    """Whether a list is typed for a knob, wherever it is one."""
    having = homes().get(key, {}).values()
    return bool(having) and all(get_origin(knob.base) is list for knob in having)


# --- what to say of a name that is not there ---


def close(wrong: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that is nearest; empty where none is near."""
    return next(iter(difflib.get_close_matches(wrong[:LENGTH], list(allowed), n=1, cutoff=cutoff)), "")


def nearest(wrong: str, allowed: Sequence[str], listed: str = "--help") -> str:
    """What to type instead; where there are many names, ``listed`` shows all of them."""
    close = difflib.get_close_matches(wrong, allowed, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    length = itertools.accumulate(len(name) + 2 for name in allowed)
    few = [name for name, until in zip(allowed, length, strict=True) if until <= LENGTH][:LISTED]
    shown = ", ".join(few) + (f", ... (all with {listed})" if len(allowed) > len(few) else "")
    return f"There are: {shown}." if allowed else ""


def named(group: str, given: object) -> str:
    """What is to be typed where ``given`` is not the name of an option."""
    return f"{group} is chosen by a name. {nearest(str(given), options(group), f'--help {group}')}"


def unknown(group: str, option: str) -> str:
    """No such option: the nearest one, or all of them."""
    return f"{group}={option}: there is no such {group}. {nearest(option, options(group), f'--help {group}')}"


def unknown_key(key: str, topic: str, known: Iterable[str] = ()) -> str:
    """No such knob: the nearest one; or the topics that have it."""
    others = [name for name in options("topic") if key in knobs("topic", name)]
    mine = [*root_knobs(topic), *GROUPS, *known]
    if others:
        own = ", ".join(knobs("topic", topic)) or "none of its own"
        return f"{key}: topic={topic} has none; it is a knob of topic={' and '.join(others)}. Knobs of {topic}: {own}."
    if key.startswith("topic.") and (name := key.removeprefix("topic.")) in mine:
        return f"{key}: a knob of the topic stands at the root. Type {name}=..."
    if isinstance(alias := aliases.KNOBS.get(key), str):
        return f"{key}: there is no such knob. Did you mean {alias}?"
    if "." in key and (group := key.partition(".")[0]) in GROUPS:
        return f"{key}: the chosen {group} has no such knob. {nearest(key, list(known))}".rstrip()
    return f"{key}: there is no such knob. {nearest(key, mine)}"
