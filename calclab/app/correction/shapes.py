"""The shape of words: name=value, without blanks, dashes or colons, and with what several values need.

``lr 0.05``, ``lr = 0.05``, ``lr: 0.05``, ``--lr=0.05`` and ``-m lr=0.1 0.01`` are words that mean one thing, if their
names are known; a word without a value may be an option, a file, a class or a formula.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from calclab.app.commands import COMMANDS
from calclab.app.correction import subjects
from calclab.schema import aliases, catalogue
from calclab.text import shortened

SWEEP = ("-m", "--multirun")
FLAGS = (*SWEEP, "-h", "--help", "--version", "--resolve", "--run", "-r")
WITH_VALUE = ("-c", "--cfg", "-p", "--package")
SEVERAL = ("multi-run", "multi_run", "sweep", "grid", "gridsearch", "multi")
NUMBER = re.compile(r"[+-]?(\d|\.\d)")
TWO = re.compile(r"(?:\s*(?:&&?|;|,)\s*|\s+)([A-Za-z_.]+)=")  # a further word within a value
WHOLE = ("function.expr", "function.links", "outputs", "claims", "data.path", "network.weights")  # of which = is a part
LONG = 1000  # characters of a value that is looked at
NEEDLESS = ("run", "start", "go", "execute", "compute", "train", "fit")  # in the place of a command
JOIN = "a name and its value are one word, joined by ="


def joined(words: Sequence[str], reasons: list[str]) -> list[str]:
    """The words in the shape name=value; what was wrong is added to ``reasons``."""
    rest, out = deque(words), list[str]()
    for program in (["python", "-m", "calclab"], ["python3", "-m", "calclab"], ["calclab"]):
        if list(words[: len(program)]) == program:
            reasons.append(f"{' '.join(program)}: the program is called already.")
            rest = deque(words[len(program) :])
    while rest:
        word = rest.popleft()
        if word == "#":
            reasons.append("#: this shell knows no comments.")
            rest.clear()
        elif word in FLAGS:
            out.append(word)
        elif word in WITH_VALUE:
            out += [word, *([rest.popleft()] if rest else [])]
        elif word.startswith("-") and not NUMBER.match(word):
            dashed(word, rest, out, reasons)
        elif "=" in word and not word.startswith("="):
            out.append(valued(word, rest, reasons))
        elif word.startswith("~"):
            out.append(word)
        else:
            bare(word, rest, out, reasons)
    return out


def valued(word: str, rest: deque[str], reasons: list[str]) -> str:
    """A word with an =, and with the value that stands behind a blank."""
    key, _, value = word.partition("=")
    if not value and rest and plain(rest[0]) and known(key):
        reasons.append(f"{key}= {shortened(rest[0])}: {JOIN}.")
        return f"{key}={rest.popleft()}"
    cut = TWO.search(value) if key not in WHOLE and len(value) < LONG else None
    if cut and known(cut[1]) and re.fullmatch(r"[\w.+-]+", value[: cut.start()]):
        reasons.append(f"{shortened(word)}: words are parted by blanks alone.")
        rest.appendleft(value[cut.start(1) :])
        return f"{key}={value[: cut.start()]}"
    tidy = value.lstrip("=").rstrip(";")
    if tidy.endswith(",") and key != "data.separator" and not (rest and plain(rest[0])):
        tidy = tidy.rstrip(",")
    if tidy != value and tidy and known(key):
        reasons.append(f"{shortened(word)}: words are parted by blanks alone.")
        return f"{key}={tidy}"
    return word


def dashed(word: str, rest: deque[str], out: list[str], reasons: list[str]) -> None:
    """A word that begins with a dash, and is no flag."""
    name, equals, value = word.lstrip("-").partition("=")
    given = shortened(word)
    if name in SEVERAL:
        reasons.append(f"{given}: several values are asked for by -m.")
        out.append("-m")
    elif knob := known(name.replace("-", "_")) or known(name):
        reasons.append(f"{given}: knobs are typed without dashes, as name=value.")
        rest.appendleft(f"{knob}={value}" if equals else knob)
    elif (off := switched_off(name)) and not equals:
        reasons.append(f"{given}: knobs are typed without dashes, as name=value.")
        out.append(off)
    elif name.replace("-", "_") in COMMANDS and not out:
        reasons.append(f"{given}: a command has no dashes.")
        out.append(name)
    elif near := aliases.COMMANDS.get(name.lower()) if not out and not rest else "":
        reasons.append(f"{given}: there is no such flag.")
        out.append(near if near in COMMANDS else "help")
    elif word.startswith("--") and (near := catalogue.close(word, (*FLAGS, *WITH_VALUE), 0.8)):
        reasons.append(f"{given}: there is no such flag. Did you mean {near}?")
        out.append(near)
    else:
        if not equals and rest and plain(rest[0]) and not known(rest[0]) and not subjects.of(rest[0]):
            rest.popleft()
        reasons.append(f"{given}: there is no such flag; there are -m, --cfg, --help and --version.")


def bare(word: str, rest: deque[str], out: list[str], reasons: list[str]) -> None:
    """A word without an =, or one that begins with it."""
    given = shortened(word)
    if word in ("", ",", ";", "&", "\\", "and"):
        reasons.append(f"'{given}' is no word of a command line.")
    elif not out and word in NEEDLESS and rest and "=" in rest[0]:
        reasons.append(f"{given}: a run needs no command.")
    elif not out and word in SEVERAL:
        reasons.append(f"{given}: several values are asked for by -m.")
        out.append("-m")
    elif word.startswith("=") and out and known(out[-1]):
        rest.appendleft(out.pop() + word)
        reasons.append(f"{shortened(rest[0])}: {JOIN}.")
    elif rest and rest[0].startswith("=") and known(word):
        reasons.append(f"{given} {shortened(rest[0])}: {JOIN}.")
        rest.appendleft(word + rest.popleft())
    elif (key := re.match(r"([\w.-]+):", word)) and (name := known(key[1])) and not key[1].isdigit():
        reasons.append(f"{given}: {JOIN}.")
        value = word[key.end() :] or (rest.popleft() if rest and plain(rest[0]) else "")
        rest.appendleft(f"{name}={value}")
    elif off := switched_off(word):
        reasons.append(f"{given}: a knob has a value, joined by =.")
        out.append(off)
    elif name := known(word):
        alone(name, rest, out, reasons)
    elif not out and (near := aliases.COMMANDS.get(word) or (catalogue.close(word, tuple(COMMANDS), 0.7))):
        if near not in COMMANDS:
            near = "help"
        reasons.append(f"{given}: there is no such command. Did you mean {near}?")
        out += [near, *rest]
        rest.clear()
    elif continued(word, out):
        more(word, out, reasons)
    elif found := subjects.of(word):
        reasons.append(f"{given}: what is chosen has a name and a value, joined by =.")
        rest.extendleft(reversed(found))
    elif near := catalogue.close(word, names(), 0.75):
        reasons.append(f"{given}: there is no such knob. Did you mean {near}?")
        rest.appendleft(near)
    else:
        out.append(word)


def switched_off(word: str) -> str:
    """no-figures, no_figures, without_figures: a knob that is to be false; empty for all else."""
    found = re.match(r"(?:no|without|skip|disable)[-_](.+)", word)
    name = known(found[1].replace("-", "_")) if found else ""
    knob = catalogue.anywhere(name)
    return f"{name}=false" if knob is not None and knob.allows(False) and knob.allows(True) else ""


def alone(name: str, rest: deque[str], out: list[str], reasons: list[str]) -> None:
    """The name of a knob or a group, and the value that follows, or one that it may have."""
    knob = catalogue.anywhere(name)
    if rest and plain(rest[0]) and not (knob and knob.base is bool and known(rest[0])):
        reasons.append(f"{name} {shortened(rest[0])}: {JOIN}.")
        rest.appendleft(f"{name}={rest.popleft()}")
    elif knob:
        reasons.append(f"{name}: a knob has a value, joined by =.")
        out.append(f"{name}={str(knob.example).strip(chr(39)) if knob.base is not bool else 'true'}")
    else:
        out.append(name)


def continued(word: str, out: Sequence[str]) -> bool:
    """Whether a word goes on with the value before it: a further number, name, or piece of a formula."""
    if not out or "=" not in out[-1]:
        return False
    key, _, before = out[-1].partition("=")
    if key in ("function.expr", "function.links"):
        return True
    name = re.compile(r"[\w.+-]+,?")
    return bool((NUMBER.match(word) and NUMBER.match(before.lstrip("[("))) or before.endswith(",") or (
        key in catalogue.GROUPS and word.rstrip(",") in catalogue.options(key)
    ) or (catalogue.listed(key) and name.fullmatch(word)))  # fmt: skip


def more(word: str, out: list[str], reasons: list[str]) -> None:
    """The value before, and this one: a longer formula, a list, or several values to sweep over."""
    key, _, before = out[-1].partition("=")
    given = f"{shortened(out[-1])} {shortened(word)}"
    if key in ("function.expr", "function.links"):
        reasons.append(f"{given}: a formula with blanks stands in quotes.")
        out[-1] = f"{out[-1]} {word}"
    elif catalogue.listed(key) or key == "function.at":
        reasons.append(f"{given}: a list stands in brackets, without blanks or in quotes.")
        out[-1] = f"{key}=[{before.strip('[]').rstrip(',')},{word.strip(']').rstrip(',')}]"
    else:
        reasons.append(f"{given}: several values are parted by commas, without blanks.")
        out[-1] = f"{key}={before.rstrip(',')},{word.rstrip(',')}"
        if not set(out) & set(SWEEP):
            out.insert(0, "-m")


def plain(word: str) -> bool:
    """Whether a word may be a value that stands by itself."""
    return "=" not in word and (not word.startswith("-") or bool(NUMBER.match(word)))


def known(name: str) -> str:
    """The name of a group or a knob as it is typed, whatever its capitals; of what others call so, their name for it;
    empty where there is none."""
    if not name:
        return ""
    lower = name.lower()
    return next((one for one in (name, lower) if one in catalogue.GROUPS or catalogue.anywhere(one)), "") or next(
        (one for one in (name, lower) if one in aliases.KNOBS and len(one) > 1), ""
    )


def names() -> tuple[str, ...]:
    """What may stand before an =."""
    return (*catalogue.GROUPS, *catalogue.homes())
