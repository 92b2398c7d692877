"""The options of groups: misspelt, by other names, files and classes in their place, several where one is chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence

from calclab.app.correction import subjects
from calclab.app.correction.choices import HYDRA, Choices, parts
from calclab.schema import catalogue
from calclab.text import shortened

CUT = re.compile(r"=[^\[({'\"]*,")  # several values


def chosen(words: Sequence[str], reasons: list[str]) -> list[str]:
    """The words with options that there are, each group chosen once; what was wrong is added to ``reasons``."""
    choices = Choices(words)
    out: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        name = key.lstrip("+")
        grouped = equals and name in (*catalogue.GROUPS, *HYDRA)
        if grouped and name != key:
            reasons.append(f"{shortened(word)}: {name} is there already, and + adds what is not.")
        out += options(name, value, choices, reasons) if grouped else [word]
    return once(out, reasons, choices.sweep)


def once(words: list[str], reasons: list[str], sweep: bool) -> list[str]:
    """With -m at the front, and each group chosen once: of several the last counts."""
    given = [word for word in words if word.partition("=")[0] in catalogue.GROUPS]
    for group in catalogue.GROUPS:
        of_group = list(dict.fromkeys(word for word in given if word.startswith(f"{group}=")))
        if len(of_group) > 1 and not sweep:
            reasons.append(f"{group} is given twice: {' and '.join(map(shortened, of_group[:2]))}.")
        if of_group:
            words = [word for word in words if word == of_group[-1] or not word.startswith(f"{group}=")]
    keys = [word.partition("=")[0] for word in words]
    again = {
        key for key in keys if keys.count(key) > 1 and any(CUT.search(word) for word in words if named_by(word, key))
    }
    words = [
        word for place, word in enumerate(words) if keys[place] not in again or keys[place] not in keys[place + 1 :]
    ]
    front = [word for word in words if word in ("-m", "--multirun")]
    return [*front[:1], *dict.fromkeys(word for word in words if word not in front)]


def named_by(word: str, key: str) -> bool:
    return word.startswith(f"{key}=")


def options(group: str, value: str, choices: Choices, reasons: list[str]) -> list[str]:
    """A group's word with options that there are."""
    if value.startswith(("glob(", "choice(", "shuffle(", "sort(")):
        if not choices.sweep:
            reasons.append(f"{group}={shortened(value)} stands for several values, which -m asks for.")
            return ["-m", f"{group}={value}"]
        return [f"{group}={value}"]
    if group == "experiment" and value.startswith("["):  # studies put together
        inside = [option(group, entry.strip(), reasons)[-1].partition("=")[2] for entry in parts(value.strip("[]"))]
        return [f"{group}=[{','.join(inside)}]"]
    listed = group != "experiment" and value.startswith("[")  # of studies a list is one choice
    entries = [entry.strip().strip("'\"") for entry in parts(value.strip("[]") if listed else value)]
    if len(entries) > 1 and group == "optimizer" and choices.topic == "comparison":
        reasons.append("a comparison has its optimizers in a list.")
        return [f"optimizers=[{','.join(entries)}]"]
    several = [option(group, entry, reasons) for entry in entries]
    if len(several) == 1:
        return several[0] if several[0] != [f"{group}={value.strip()}"] else [f"{group}={value}"]
    names = [words[0].partition("=")[2] for words in several if words[0].startswith(f"{group}=")]
    if len(names) < len(entries) or not set(names) <= set(catalogue.options(group)):
        return [f"{group}={value}"]
    if listed or not choices.sweep:
        reasons.append(f"{group}={shortened(value)} stands for several values, which -m asks for, as a,b,c.")
    return [*([] if choices.sweep else ["-m"]), f"{group}={','.join(names)}"]


def option(group: str, entry: str, reasons: list[str]) -> list[str]:
    """The words for one option."""
    if entry in ("", "null") or entry in catalogue.options(group):
        return [f"{group}={entry}"]
    found = launcher(group, entry) if group in HYDRA else subjects.chosen(group, entry)
    if found:
        reasons.append(f"{group}={shortened(entry)}: there is no such {group}.")
    return found or [f"{group}={entry}"]


def launcher(group: str, entry: str) -> list[str]:
    near = catalogue.close(entry.lower(), catalogue.options(group))
    near = near or next((name for name in catalogue.options(group) if entry.lower() in name), "")
    return [f"{group}={near}"] if near else []
