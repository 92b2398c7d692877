"""The names before an =, and the options and values behind it: the group, knob or value that was probably meant."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from calclab.app.correction import subjects
from calclab.app.words import FORMULA_KEYS, IMPLIED, OWN
from calclab.errors import UserError
from calclab.schema import Knob, aliases, catalogue
from calclab.schema.meant import NUMBER
from calclab.text import shortened

HYDRA = ("hydra/launcher", "hydra/sweeper")
FIRST = {"network": "mlp", "data": "digits", "function": "formula"}  # of several options that have a knob
MODULES = ("nn", "torch.nn", "torch", "F", "functional")  # loss=nn.MSELoss names what the lab has
LONGEST = 2000  # characters of a formula that is looked at
CALL = re.compile(r"(range|linspace|logspace|choice|interval|shuffle|sort|tag)\(")  # several values, by a function


def parts(value: str) -> list[str]:
    """A value cut at its commas outside brackets and quotes; whole where a bracket or a quote is not closed."""
    found, depth, quote, begin = [], 0, "", 0
    for place, letter in enumerate(value):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "," and depth == 0:
            found.append(value[begin:place])
            begin = place + 1
        else:
            depth += (letter in "([{") - (letter in ")]}")
    return [value] if depth or quote else [*found, value[begin:]]


@dataclass
class Choices:
    """What the words of a line choose, as far as it can be told without composing."""

    words: Sequence[str]
    sweep: bool = False
    given: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sweep = bool({"-m", "--multirun"} & set(self.words))
        for word in self.words:
            key, equals, value = word.partition("=")
            if equals and key in (*catalogue.GROUPS, *HYDRA):
                self.given[key] = parts(value)[0]
            elif key in IMPLIED:
                group, _, option = IMPLIED[key].partition("=")
                self.given.setdefault(group, option)

    @property
    def topic(self) -> str:
        given = self.given.get("topic", "descent")
        return given if given in catalogue.options("topic") else "descent"

    @property
    def open(self) -> bool:
        """Whether a study chooses too, so that nobody knows here what there is."""
        return "experiment" in self.given

    def value(self, key: str) -> str:
        """What is typed for a name; empty where nothing is."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), "")

    def option(self, group: str) -> str:
        return self.given.get(group) or catalogue.default_of(self.topic).get(group, "")

    def knob(self, key: str) -> Knob | None:
        """A knob that the line has."""
        group, dot, name = key.partition(".")
        if not dot:
            return catalogue.root_knobs(self.topic).get(key) or (catalogue.anywhere(key) if self.open else None)
        return catalogue.knobs(group, self.option(group)).get(name) if group in catalogue.PARTS else None

    def unseen(self, key: str) -> bool:
        """Whether a name may be right for all that is known here: one of Hydra's, of the user's own classes, of a
        mapping, or of a study."""
        group, _, name = key.partition(".")
        if key.startswith("hydra") or name.startswith("_target_"):
            return True
        if group in OWN and self.option(group) == "custom":
            return True
        mapping = group in catalogue.homes() or group in catalogue.root_knobs(self.topic)  # sharpness.every
        return bool(name) and (mapping or (group in catalogue.PARTS and (self.open or name in self.values(group))))

    def values(self, group: str) -> Sequence[str]:
        return list(catalogue.values(group, self.option(group)))


def chosen(words: Sequence[str], reasons: list[str]) -> list[str]:
    """The words with options that there are, each group chosen once; what was wrong is added to ``reasons``."""
    choices = Choices(words)
    out: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        name = key.lstrip("+")
        grouped = equals and name in (*catalogue.GROUPS, *HYDRA)
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
    front = [word for word in words if word in ("-m", "--multirun")]
    return [*front[:1], *dict.fromkeys(word for word in words if word not in front)]


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


# --- names ---


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
    if of_topic := aliases.OF_TOPICS.get(choices.topic, {}).get(name):
        return [f"{of_topic}={value}"]
    if topics := [topic for topic in catalogue.options("topic") if name in catalogue.knobs("topic", topic)]:
        return [] if "topic" in choices.given else [f"topic={topics[0]}", f"{name}={value}"]
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
    near = catalogue.close(lower, [*mine, *catalogue.GROUPS, *inside], 0.65)
    near = near or str(
        aliases.KNOBS.get(catalogue.close(lower, [known for known in aliases.KNOBS if len(known) > 4], 0.8), "")
    )
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
        return []
    best = FIRST.get(group, alias)
    best = best if best in having else next((one for one in having if option and one.startswith(option)), having[0])
    return [f"{group}={best}", f"{group}.{alias}={value}"]


def having_options(group: str) -> list[str]:
    """The options of a group that have knobs of their own; of functions those that are no zoo."""
    return [one for one in catalogue.options(group) if catalogue.find(group, one)]


# --- options ---


def options(group: str, value: str, choices: Choices, reasons: list[str]) -> list[str]:
    """A group's word with options that there are."""
    if value.startswith(("glob(", "choice(", "shuffle(", "sort(")):
        if not choices.sweep:
            reasons.append(f"{group}={shortened(value)} stands for several values, which -m asks for.")
            return ["-m", f"{group}={value}"]
        return [f"{group}={value}"]
    entries = [entry.strip().strip("'\"") for entry in parts(value.strip("[]") if group in SINGLE else value)]
    if len(entries) > 1 and group == "optimizer" and choices.topic == "comparison":
        reasons.append("a comparison has its optimizers in a list.")
        return [f"optimizers=[{','.join(entries)}]"]
    several: list[list[str]] = []
    for entry in entries:
        words = [f"{group}={entry}"]
        there = entry in catalogue.options(group)
        if not there and entry and (group in HYDRA or entry not in ("null", "")):
            found = launcher(group, entry) if group in HYDRA else subjects.chosen(group, entry)
            if found:
                reasons.append(f"{group}={shortened(entry)}: there is no such {group}.")
                words = found
        several.append(words)
    if len(several) == 1:
        return several[0] if several[0] != [f"{group}={value.strip()}"] else [f"{group}={value}"]
    names = [words[0].partition("=")[2] for words in several if words[0].startswith(f"{group}=")]
    if not choices.sweep and value[:1] not in "[{":
        reasons.append(f"{group}={shortened(value)} stands for several values, which -m asks for.")
        return ["-m", f"{group}={','.join(names)}"]
    return (
        [f"{group}={','.join(names)}"] if len(names) == len(entries) and value[:1] not in "[{" else [f"{group}={value}"]
    )


SINGLE = ("topic", *catalogue.PARTS)


def launcher(group: str, entry: str) -> list[str]:
    near = catalogue.close(entry.lower(), catalogue.options(group))
    return [f"{group}={near}"] if near else []


# --- values ---


def worth(key: str, value: str, knob: Knob, choices: Choices, reasons: list[str]) -> list[str]:
    """A knob's word with a value that the knob allows."""
    if "${" in value or key.partition(".")[2] == "_target_":
        return [f"{key}={value}"]
    if key in FORMULA_KEYS:
        return formula(key, value, reasons)
    if key in ("data.path", "network.weights"):
        near = subjects.near_file(value) if value and not os.path.exists(os.path.expanduser(value)) else ""
        if near:
            reasons.append(f"{key}={shortened(value)}: there is no such file.")
        return [f"{key}={near or value}"]
    if key == "outputs":
        return [f"{key}={value}"]
    if key == "data.target" and (column := subjects.column(value, choices.value("data.path"))):
        reasons.append(f"{key}={shortened(value)}: the table has no such column.")
        return [f"{key}={column}"]
    if (loose := spread(value, knob)) != value:
        reasons.append(f"{key}={shortened(value)}: several values are typed a,b,c, range(a,b,step) or linspace(a,b,n).")
        return [*([] if choices.sweep else ["-m"]), f"{key}={loose}"]
    if value.startswith("glob("):  # of names of a group, and a knob's value is none
        return [f"{key}={value}"]
    if CALL.match(value):
        if not choices.sweep:
            reasons.append(f"{key}={shortened(value)} stands for several values, which -m asks for.")
            return ["-m", f"{key}={value}"]
        return [f"{key}={value}"]
    if len(parts(value)) > 1:
        return several(key, value, knob, choices, reasons)
    read, problem = parsed(key, value)
    meant, why = "", f"{key} is {knob.article}{knob.kind}"
    if (names := options_of(key, knob)) and not named_all(read, names):
        meant, why = knob.meant(read, names), f"there is no such {key.rstrip('s')}"
    elif problem or not knob.allows(read):
        meant = knob.meant(value if problem else read)
    elif knob.own and value.rpartition(".")[0] in MODULES:
        meant = knob.meant(value)
    if not meant and (problem or isinstance(read, str)) and (meant := brackets(value, knob)):
        why = "a list stands in square brackets"
    if not meant and problem and value:
        meant, why = str(knob.example).strip("'"), "this cannot be read"
    if not meant or meant == value:
        return [f"{key}={value}"]
    reasons.append(f"{key}={shortened(value)}: {why}.")
    return [f"{key}={meant}"]


def options_of(key: str, knob: Knob) -> Sequence[str]:
    """The names that a value, or each entry of it, is one of, where the knob takes other things too."""
    return catalogue.options("optimizer") if key == "optimizers" else knob.names


def spread(value: str, knob: Knob) -> str:
    """Several numbers for a knob that takes one, as a sweep has them: [a,b], {a,b}, a..b, a:b:step."""
    if knob.base not in (float, int):
        return value
    if found := re.fullmatch(r"[\[({]\s*([^\[\](){}]+,[^\[\](){}]+?)\s*[\])}]", value):
        return re.sub(r"\s*,\s*", ",", found[1])
    if found := re.fullmatch(rf"({NUMBER})\s*(?:\.\.+|-|to)\s*({NUMBER})", value):
        return f"linspace({found[1]},{found[2]},5)" if knob.base is float else f"range({found[1]},{found[2]})"
    if found := re.fullmatch(rf"({NUMBER}):({NUMBER}):({NUMBER})", value):
        return f"range({','.join(found.groups())})"
    return value


def several(key: str, value: str, knob: Knob, choices: Choices, reasons: list[str]) -> list[str]:
    """Several values: a number with a decimal comma, a list without its brackets, or a sweep."""
    entries = parts(value)
    given = f"{key}={shortened(value)}"
    if choices.sweep and any(entry[:1] in ("[", "{", "'", '"') for entry in entries):
        return [f"{key}={value}"]
    numeric = knob.base in (float, int)
    comma = re.fullmatch(r"[+-]?(0,\d+|\d+,0\d*)" if knob.base is float else r"[1-9]\d{0,2}(,\d{3})+", value)
    if numeric and comma and (meant := knob.meant(value)) and not choices.sweep:
        reasons.append(f"{given}: a number has a point and no comma (several values: -m {given}).")
        return [f"{key}={meant}"]
    if catalogue.listed(key) or (not choices.sweep and str(knob.example).strip("'").startswith("[") and not numeric):
        also = "" if catalogue.listed(key) else f" (a sweep: -m {given})"
        reasons.append(f"{given}: a list stands in brackets{also}.")
        return [f"{key}=[{','.join(entry.strip(' []()') for entry in entries)}]"]
    fixed = []
    for entry in entries:
        read, problem = parsed(key, entry)
        meant = knob.meant(entry if problem else read) if problem or not knob.allows(read) else ""
        fixed.append(meant or entry)
    right = f"{key}={','.join(fixed)}"
    if fixed != entries:
        reasons.append(f"{given}: {key} is {knob.article}{knob.kind}.")
    if not choices.sweep:
        reasons.append(f"{given} stands for several values, which -m asks for.")
        return ["-m", right]
    return [right]


def parsed(key: str, value: str) -> tuple[object, bool]:
    """The value as Hydra reads it, and whether it cannot."""
    from calclab.app.words import parsed as read
    from calclab.app.words import prepare

    try:
        override = read(prepare([f"{key}={value}"])[0])
        return (value, True) if override.is_sweep_override() else (override.value(), False)
    except UserError:
        return value, True


def named_all(read: object, names: Sequence[str]) -> bool:
    """Whether all texts in a value, one or a list, are among ``names``; a + joins two."""
    entries = read if isinstance(read, list) else [read]
    return all(entry.partition("+")[0] in names for entry in entries if isinstance(entry, str))


def brackets(value: str, knob: Knob) -> str:
    """A list in round brackets or with blanks, or one that is not closed; empty for all else."""
    text = value.strip("'\" ")
    if not str(knob.example).strip("'").startswith(("[", "{")):
        return ""
    if re.fullmatch(r"\(.*\)", text):
        return f"[{text[1:-1]}]"
    missing = text.count("[") - text.count("]")
    if missing > 0:
        return text.rstrip(", ") + "]" * missing
    if missing < 0:
        return "[" * -missing + text
    if re.fullmatch(r"[-+\d.eE]+([ ;]+[-+\d.eE]+)+", text):
        return f"[{','.join(re.split(r'[ ;]+', text))}]"
    return ""


def formula(key: str, value: str, reasons: list[str]) -> list[str]:
    """A formula's word, written as the lab reads it."""
    from calclab.subject.formula.parse import meant, refusal
    from calclab.subject.formula.text import split

    if len(value) > LONGEST:
        return [f"{key}={value}"]
    texts = split(value)
    found = [meant(text) for text in texts]
    if not any(found):
        return [f"{key}={value}"]
    first = next(text for text, new in zip(texts, found, strict=True) if new)
    why = refusal(first).partition(" Known: ")[0]
    reasons.append(why if why.endswith((".", "?")) else f"{why}.")
    fixed = [new or text for new, text in zip(found, texts, strict=True)]
    listed = len(texts) > 1 or value.strip().startswith("[")
    return [f"{key}=[{', '.join(fixed)}]" if listed else f"{key}={fixed[0]}"]
