"""The names of knobs: misspelt, by other names, of another topic, group or option."""

from __future__ import annotations

import re
from collections.abc import Sequence

from calclab.app.correction import subjects
from calclab.app.correction.choices import HYDRA, Choices
from calclab.app.correction.options import once
from calclab.app.correction.values import worth
from calclab.schema import aliases, catalogue
from calclab.text import shortened

FIRST = {"network": "mlp", "data": "digits", "function": "formula"}  # of several options that have a knob


def named(words: Sequence[str], reasons: list[str]) -> list[str]:
    """The words with names that there are, and values that are allowed; what was wrong is added to ``reasons``."""
    choices = Choices(words)
    out: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        out += [word] if not equals or word.startswith(("-", "~")) else part(key, value, choices, reasons)
    data = next((place for place, word in enumerate(out) if word.startswith("data=")), None)
    about = ("network", "function", "topic=", "experiment")
    if data is not None and not choices.option("network") and not any(word.startswith(about) for word in out):
        reasons.append("data=... goes with a network: name one, for example network=mlp.")
        out.insert(data, "network=mlp")
    return once(out, [], choices.sweep)


def part(key: str, value: str, choices: Choices, reasons: list[str]) -> list[str]:
    """One word, put right."""
    prefix, name = key[: len(key) - len(key.lstrip("+"))], key.lstrip("+").strip()
    given = shortened(f"{key}={value}")
    if prefix == "+" and choices.knob(name):
        reasons.append(f"{given}: {name} is there already, and + adds what is not.")
        return part(name, value, choices, reasons)
    if name in (*catalogue.GROUPS, *HYDRA):
        return [f"{key}={value}"]
    if name.endswith("._target_") and (own := subjects.own(name.partition(".")[0], value)):
        reasons.append(f"{given}: there is no such class or function.")
        return [f"{key}={own}"]
    knob = choices.knob(name)
    if knob is not None:
        return worth(name, value, knob, choices, reasons)
    if choices.unseen(name):
        return [f"{key}={value}"]
    found = renamed(name, value, choices)
    if found is None:
        return [f"{key}={value}"]
    reasons.append(f"{given}: {no_such(name, choices)}")
    return found


def no_such(name: str, choices: Choices) -> str:
    """Why a name is none, in a sentence."""
    group, dot, knob = name.partition(".")
    if group == "topic":
        return "a knob of the topic stands at the root."
    if dot and group in catalogue.PARTS:
        option = choices.option(group)
        return f"{group}={option} has no knob {knob}." if option else f"this run has no {group}."
    topics = [topic for topic in catalogue.options("topic") if name in catalogue.knobs("topic", topic)]
    if topics:
        return f"topic={choices.topic} has no such knob; it is one of topic={' and '.join(topics)}."
    return "there is no such knob."


def renamed(name: str, value: str, choices: Choices) -> list[str] | None:
    """The words for a knob under another name; none for one that the topic named has no use for, and None where nobody
    knows which it is."""
    group, dot, last = name.partition(".")
    if dot:
        return within(group, last, value, choices) or None
    lower = name.lower().replace("-", "_")
    mine = catalogue.root_knobs(choices.topic)
    if lower in mine or lower in catalogue.GROUPS:
        return [f"{lower}={value}"]
    for own in catalogue.PARTS:  # width=64 for network.width=64
        if choices.option(own) and name in catalogue.knobs(own, choices.option(own)) and own in choices.given:
            return [f"{own}.{name}={value}"]
    for own in catalogue.PARTS:
        inside = name if f"{own}.{name}" in catalogue.homes() else aliases.WITHIN.get(own, {}).get(name, "")
        if inside and choices.touches(own) and (found := within(own, inside, value, choices)):
            return found
    if of_topic := aliases.OF_TOPICS.get(choices.topic, {}).get(name):
        return [f"{of_topic}={value}"]
    if topics := [topic for topic in catalogue.options("topic") if name in catalogue.knobs("topic", topic)]:
        return [] if "topic" in choices.given else [f"topic={topics[0]}", f"{name}={value}"]
    return elsewhere(name, value, choices)


def elsewhere(name: str, value: str, choices: Choices) -> list[str] | None:
    """The words for what others call a knob, for a knob of a part that is not chosen, or for the nearest."""
    lower = name.lower().replace("-", "_")
    wanted = aliases.KNOBS.get(lower) or aliases.KNOBS.get(name)
    if isinstance(wanted, tuple):
        entries = [entry for entry in re.split(r"[\s,;]+", value.strip("[]() ")) if entry]
        pairs = zip(wanted, entries, strict=False)
        return [word for knob, entry in pairs for word in within(*halves(knob), entry, choices)] or None
    if wanted and "=" in wanted:
        return [wanted]
    if wanted and "." in wanted:
        return within(*halves(wanted), value, choices) or None
    if wanted:
        return [f"{wanted}={value}"]
    for own in catalogue.PARTS:  # momentum=0.9, of an optimizer that is not chosen
        if f"{own}.{name}" in catalogue.homes():
            return within(own, name, value, choices) or None
    inside = [f"{own}.{knob}" for own in choices.given if own in catalogue.PARTS
             for knob in catalogue.knobs(own, choices.option(own))]  # fmt: skip
    near = catalogue.close(lower, [*catalogue.root_knobs(choices.topic), *catalogue.GROUPS, *inside], 0.65)
    if not near:
        near = str(aliases.KNOBS.get(catalogue.close(lower, [one for one in aliases.KNOBS if len(one) > 4], 0.8), ""))
    return [f"{near}={value}"] if near and "=" not in near else None


def halves(key: str) -> tuple[str, str]:
    group, _, name = key.partition(".")
    return group, name


def within(group: str, name: str, value: str, choices: Choices) -> list[str]:
    """The words for ``group.name``: of the option chosen, or with one that has it."""
    other = aliases.KNOBS.get(group.lower(), group)
    group = other if isinstance(other, str) and other in catalogue.GROUPS else group
    if group == "topic":
        return [f"{name}={value}"] if name in catalogue.root_knobs(choices.topic) else []
    if group not in catalogue.PARTS:
        return []
    if name in ("name", "type", "kind", "class", "cls") and (found := subjects.option(group, value)):
        return [f"{group}={found}"]
    option = choices.option(group)
    own = catalogue.knobs(group, option)
    alias = aliases.WITHIN.get(group, {}).get(name.lower(), name)
    for wanted in (name, name.lower().replace("-", "_"), alias):
        if wanted in own:
            return [f"{group}.{wanted}={value}"]
    if name in catalogue.root_knobs(choices.topic):  # data.seed
        return [f"{name}={value}"]
    if near := catalogue.close(name.lower(), own, 0.7):
        return [f"{group}.{near}={value}"]
    having = [one for one in having_options(group) if alias in catalogue.knobs(group, one)]
    if not having:
        known = aliases.KNOBS.get(name.lower(), "")
        return [f"{known}={value}"] if isinstance(known, str) and known in catalogue.root_knobs(choices.topic) else []
    best = best_of(having, group, alias, value, choices)
    return [f"{group}={best}", f"{group}.{alias}={value}"]


def best_of(having: Sequence[str], group: str, name: str, value: str, choices: Choices) -> str:
    """Of the options that have a knob the one that has most of what the line names; of rows the one for their file."""
    path = value if name == "path" else choices.value("data.path")
    if group == "data" and path and (of_file := subjects.data(path)[0].partition("=")[2]) in having:
        return of_file
    wanted = {word.partition("=")[0] for word in choices.words if word.startswith(f"{group}.")}
    found = {one: sum(f"{group}.{knob}" in wanted for knob in catalogue.knobs(group, one)) for one in having}
    most = [one for one in having if found[one] == max(found.values())]
    option, first = choices.option(group), FIRST.get(group, name)
    return first if first in most else next((one for one in most if option and one.startswith(option)), most[0])


def having_options(group: str) -> list[str]:
    """The options of a group that have knobs of their own; of functions those that are no zoo."""
    return [one for one in catalogue.options(group) if catalogue.find(group, one)]
