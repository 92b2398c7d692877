"""What a run is called: what tells it from others, the most telling first, numbers in six digits.

>>> called(["steps=50", "lr=0.010000000000000004", "optimizer=adam", "network._target_=my_net.Net"])
['adam', 'Net', 'lr=0.01', 'steps=50']
>>> folder_name(["function.expr=x**2/2", "function.at=[3]", "topic=descent"])
'x^2÷2,at=[3]'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

LENGTH = 80  # characters of a folder's readable part
BYTES = 200  # of it, where letters are not ASCII: names of files end at 255
GROUPS = ("experiment", "law", "optimizer", "schedule", "line_search", "function", "network", "data")
FIRST = (*GROUPS, "lr")
UNTOLD = ("topic", "figures")  # the one is the folder's parent, the other changes no number
# groups of which an option is implied by a knob, which tells more
IMPLIED = {"formula": "function.expr", "links": "function.links", "custom": "{}._target_"}
SPELT = (("**", "^"), ("*", "·"), ("/", "÷"))  # what a file's name, or a shell, has other uses for
NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
UNSAFE = re.compile(r"[^\w.,=+^·÷()\[\]-]+")


def called(words: Iterable[str], aside: Sequence[str] = ()) -> list[str]:
    """What the overrides ``words`` say, a short text each, in order of telling; without the knobs ``aside``."""
    given = {word.lstrip("+").partition("=")[0]: word.partition("=")[2].strip("'\"") for word in words}
    known = {key: value for key, value in given.items() if key not in (*UNTOLD, *aside) and key[:5] != "hydra"}
    ends = Counter(last(key) for key in known)
    keys = sorted(known, key=rank)
    return [text for key in keys if (text := piece(key, known[key], known, alone=ends[last(key)] == 1))]


def rank(key: str) -> float:
    """Groups, and the code of the user's own in their place, before the learning rate, before all else."""
    group, _, knob = key.partition(".")
    if group in GROUPS and knob not in ("", "_target_", "expr", "links", "callable"):
        return len(FIRST)
    return FIRST.index(group) if group in FIRST else len(FIRST)


def piece(key: str, value: str, known: Iterable[str], *, alone: bool) -> str:
    """One override: ``adam``, ``lr=0.01``, ``Net``, ``x^2``; empty where another tells it."""
    if key.startswith("~"):
        return f"no {key[1:]}"
    if key in GROUPS and IMPLIED.get(value, "").format(key) in known:
        return ""
    value = clean(value)
    if key in ("function.expr", "function.links"):
        return value
    if key.endswith(("._target_", ".callable")):
        return value.rpartition(".")[2]
    if key in GROUPS and value != "null" and re.fullmatch(r"[\w./-]+", value):
        return value.replace("/", "-")
    if key.endswith((".path", ".weights")):
        value = value.rstrip("/").rpartition("/")[2]
    return f"{last(key) if alone else key}={value}"


def last(key: str) -> str:
    """The knob's own name, of ``network.width``; that of no group's is told whole: ``sharpness.every``."""
    return key.rpartition(".")[2] if key.partition(".")[0] in GROUPS else key


def clean(value: str) -> str:
    """The numbers in a text in at most six digits: 0.010000000000000004 is 0.01, and 1e-3 is 0.001."""
    return NUMBER.sub(lambda found: found[0] if len(found[0]) > 300 else short(found[0]), value)


def short(number: str) -> str:
    return number if number.lstrip("+-").isdigit() else f"{float(number):.6g}"


def folder_name(words: Iterable[str], aside: Sequence[str] = ()) -> str:
    """The same as a folder can be called: ``adam,lr=0.01``; what has no room is left out, in whole pieces."""
    told: list[str] = []
    length = -1
    for text in called(words, aside):
        for plain, safe in SPELT:
            text = text.replace(plain, safe)
        text = UNSAFE.sub("", text.replace(" ", "-") if text.startswith("no ") else text).strip(".,")
        text = text[:LENGTH].encode()[:BYTES].decode(errors="ignore")
        length += 1 + len(text.encode())
        if told and length > LENGTH:
            break
        told += [text] if text else []
    return ",".join(told)
