"""The help pages, at 80 columns: the front page; a topic, its common knobs first; a choice; a knob; a command.

    calclab help                  what there is
    calclab help topic=hessian    one topic; with ``all``, its rare knobs too
    calclab help optimizer        the choices of a group, or one of them: help adam
    calclab help lr               a knob: meaning, unit, range, default, where it is, an example

Names, descriptions, defaults and examples come from conf/, meanings and ranges from the schemas.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from calclab.app import commands
from calclab.errors import UserError
from calclab.schema import Knob, aliases, catalogue
from calclab.schema.knob import typed
from calclab.text import quoted

WIDTH = 80
LEFT = 24  # characters of a first column, at most
MANY = 16  # choices of a group up to which the front page names them all
HEAD = "calclab: a lab for the calculus under neural networks. Every number carries its evidence."
EXAMPLES = (
    ("topic=descent lr=0.05", ""),
    ("topic=hessian network=mlp data=iris", ""),
    ("topic=partial function.expr='x**2*y' function.at='[1,2]'", ""),
    ("-m topic=descent lr=0.001,0.01,0.1", "a sweep"),
    ("experiment=notebook/07_bowl", "a study, with its claims"),
)
FLAGS = (
    ("-m, --multirun", "run every combination of the values given as a,b,c"),
    ("-c, --cfg job", "print the configuration and stop"),
    ("-h, --help", "this page, or that of what is named: --help topic=hessian, --help optimizer, --help lr"),
    ("--version", "of calclab and what it stands on"),
    ("-sc install=bash", 'tab completion: eval "$(calclab -sc install=bash)"'),
)


def main(words: Sequence[str]) -> int:
    """Print the page that ``words`` ask for; of a command its own."""
    if words[:1] and words[0] in commands.COMMANDS:
        return commands.answer([words[0], "--help"])
    print(page([word for word in words if not word.startswith("-")]))
    return 0


def page(words: Sequence[str]) -> str:
    """The help page for ``words``: choices (topic=, network=, ...), groups, names of options and knobs, or ``all``;
    UserError for what there is not."""
    everything = "all" in words
    chosen: dict[str, str] = {}
    parts: list[str] = []
    for word in words:
        group, equals, option = word.partition("=")
        if group in catalogue.GROUPS and not option:
            parts.append(f"Choices of {group} ({group}=name)\n{rows(choices(group))}")
        elif equals and group in catalogue.GROUPS:
            if option not in catalogue.options(group):
                raise UserError(catalogue.unknown(group, option))
            chosen[group] = option
        elif word != "all":
            parts.append(about(group, everything))
    if "topic" in chosen:
        parts.insert(0, topic(chosen["topic"], chosen, everything))
    parts += [part(group, option) for group, option in chosen.items() if group != "topic"]
    if not parts:
        parts = [front(), *(topic(name, {}, everything) for name in catalogue.options("topic") if everything)]
    return "\n\n".join(parts)


# --- the pages ---


def front() -> str:
    """What to type, and what there is."""
    groups = [(group, few(catalogue.options(group), group)) for group in catalogue.GROUPS if group != "topic"]
    return "\n\n".join(
        [
            folded(HEAD),
            f"Type\n{lines(EXAMPLES)}\n  tensorboard --logdir outputs",
            "Commands\n" + rows(((entry.example, entry.purpose) for entry in commands.COMMANDS.values()), left=36),
            "Topics (topic=name; --help topic=name is about one)\n" + rows(choices("topic")),
            "Choices (group=name; --help group says what each is)\n" + rows(groups),
            "Knobs of every run (name=value; --help seed is about one)\n"
            + inset(", ".join(catalogue.knobs("common", "common"))),
            "Flags\n" + rows(FLAGS),
        ]
    )


def topic(name: str, chosen: Mapping[str, str], everything: bool) -> str:
    """A topic: how it is asked, its knobs, the common ones first, and what it looks at."""
    own = catalogue.knobs("topic", name)
    values = defaults(name, chosen)
    rare = {} if everything else {key: knob for key, knob in own.items() if knob.rare}
    every = catalogue.knobs("common", "common")
    subjects = ", ".join(f"{group}={option}" for group, option in catalogue.default_of(name).items())
    parts = [
        folded(f"topic={name}: {catalogue.description('topic', name)}."),
        f"Type\n{lines((line, '') for line in catalogue.examples('topic', name))}",
        "Knobs\n" + table({key: knob for key, knob in own.items() if key not in rare}, values),
    ]
    if rare:
        parts.append(f"Rarely needed (--help all topic={name} says what they are)\n{listed(rare, values)}")
    if everything:
        parts.append("Knobs of every run\n" + table(every, values))
    else:
        parts.append(f"Knobs of every run (--help seed is about one)\n{listed(every, values)}")
    also = "" if name == "importance" else "function=, function.expr=, or "
    parts.append(folded(f"It looks at {subjects}, unless another subject is named: {also}network= with data=."))
    return "\n\n".join(parts)


def part(group: str, option: str) -> str:
    """A choice of a group: what it is, and its knobs."""
    knobs = catalogue.knobs(group, option) if group in catalogue.PARTS else {}
    heading = folded(f"{group}={option}: {catalogue.description(group, option)}.")
    if not knobs:
        return heading
    return f"{heading}\n\nKnobs of {group}={option}\n{table(knobs, catalogue.values(group, option), f'{group}.')}"


def about(name: str, everything: bool) -> str:
    """What a name by itself is: a knob, an option of a group, or a knob under another name."""
    inside = [key for key in catalogue.homes() if key.partition(".")[2] == name]
    if name in catalogue.homes():
        return knob(name, also=inside)
    if inside:
        return "\n\n".join(map(knob, inside))
    if name in catalogue.options("topic"):
        return topic(name, {}, everything)
    for group in catalogue.GROUPS[1:]:
        if name in catalogue.options(group):
            return part(group, name)
    known = aliases.KNOBS.get(name, "")
    if isinstance(known, str) and (known in catalogue.homes() or known in catalogue.GROUPS):
        return f"{name}: here it is {known}.\n\n{page([known])}"
    names = [*catalogue.homes(), *catalogue.GROUPS, *commands.COMMANDS, *catalogue.options("topic")]
    names += [option for group in catalogue.GROUPS for option in catalogue.options(group)]
    near = catalogue.close(name, names)
    line = " ".join([*commands.program(), "help", *([near] if near else [])])
    raise UserError(f"{quoted(name)}: there is no topic, choice, knob or command of this name. Type {line}")


def knob(key: str, also: Sequence[str] = ()) -> str:
    """A knob wherever it is one, once for each meaning: unit, range, default, and a line with it; ``also``: others of
    its name."""
    group, name = key.partition(".")[::2] if "." in key else ("topic", key)
    senses: dict[tuple[str, str, str], dict[str, Knob]] = {}
    for option, entry in options(key).items():
        senses.setdefault((entry.meaning, entry.unit, entry.kind), {})[option] = entry
    pages = []
    for (meaning, unit, kind), having in senses.items():
        first, entry = next(iter(having.items()))
        everywhere = first == "every run"
        defaults = {option: default_of(group, option, name) for option in having}
        same = len(set(defaults.values())) == 1
        example = [*commands.program(), *([] if everywhere else [f"{group}={first}"]), f"{key}={entry.typed_example}"]
        facts = [
            ("unit", unit),
            ("value", kind),
            ("default", defaults[first] if same else ", ".join(f"{each} {value}" for each, value in defaults.items())),
            ("of", "every run" if everywhere else ", ".join(f"{group}={option}" for option in having)),
            ("example", " ".join(example)),
            ("also", ", ".join(also)),
        ]
        pages.append(f"{folded(f'{key}: {meaning}.')}\n" + rows((label, fact) for label, fact in facts if fact))
    return "\n\n".join(pages)


def options(key: str) -> dict[str, Knob]:
    """The options that have a knob, by their own names, which a schema's is without its underscores."""
    having = catalogue.homes()[key]
    group, _, name = key.partition(".") if "." in key else ("topic", "", key)
    if "every run" in having:
        return having
    schemas = {option: catalogue.knobs(group, option).get(name) for option in catalogue.options(group)}
    found = {option: entry for option, entry in schemas.items() if entry is not None}
    written = {option: entry for option, entry in found.items() if catalogue.find(group, option)}
    return written or found


# --- defaults ---


def defaults(name: str = "descent", chosen: Mapping[str, str] | None = None) -> dict[str, object]:
    """The defaults of a topic and of every run; one that refers to a part of the run (${optimizer.lr}) is that part's
    own."""
    given = {"optimizer": "gd"} | catalogue.default_of(name) | dict(chosen or {})

    def value(default: object) -> object:
        group, dot, knob = reference(default)
        return catalogue.values(group, given[group]).get(knob) if dot and group in given else default

    return {
        key: value(entry) for key, entry in (catalogue.values("", "config") | catalogue.values("topic", name)).items()
    }


def reference(default: object) -> tuple[str, str, str]:
    """The part and the knob that a default refers to; empty where it does not."""
    refers = isinstance(default, str) and default.startswith("${") and default.endswith("}")
    return str(default)[2:-1].partition(".") if refers else ("", "", "")


def default_of(group: str, option: str, name: str) -> str:
    """The default of a knob as it is typed; of one that each part has of its own, all of them."""
    values = catalogue.values("", "config") if option == "every run" else catalogue.values(group, option)
    default = values.get(name)
    part, _, knob = reference(default)
    if part not in catalogue.PARTS:
        return typed(default) or "''"
    own = ((each, catalogue.values(part, each)) for each in catalogue.options(part))
    return f"the {part}'s own: " + ", ".join(f"{each} {typed(entry[knob])}" for each, entry in own if knob in entry)


# --- texts ---


def choices(group: str) -> list[tuple[str, str]]:
    """The options of a group, each with what it is."""
    return [(name, catalogue.description(group, name)) for name in catalogue.options(group)]


def few(names: Sequence[str], group: str) -> str:
    """The names, or how many they are and how to list them."""
    return ", ".join(names) if len(names) <= MANY else f"{len(names)} of them; --help {group} lists them all"


def lines(examples: Iterable[tuple[str, str]]) -> str:
    """Command lines, each with what it is for."""
    program = " ".join(commands.program())
    return "\n".join(f"  {f'{program} {line}':<52}{note and f'  {note}'}".rstrip() for line, note in examples)


def table(knobs: Mapping[str, Knob], values: Mapping[str, object], prefix: str = "") -> str:
    """Knobs as they are typed with their defaults, each with its meaning and its range."""
    if not knobs:
        return "  none"
    return rows(
        (f"{prefix}{name}={typed(values.get(name))}", f"{entry.meaning} ({entry.kind})")
        for name, entry in knobs.items()
    )


def listed(knobs: Mapping[str, Knob], values: Mapping[str, object]) -> str:
    """Knobs with their defaults side by side."""
    named = " ".join(f"{name}={typed(values.get(name)).replace(' ', chr(160))}" for name in knobs)
    return inset(named).replace(chr(160), " ")


def inset(text: str) -> str:
    return "\n".join(f"  {line}" for line in wrapped(text, WIDTH - 2))


def rows(pairs: Iterable[tuple[str, str]], left: int = LEFT) -> str:
    """Two columns, the second folded; a first that is wider than ``left`` stands above its second."""
    entries = list(pairs)
    edge = 4 + max((len(first) for first, _ in entries if len(first) <= left), default=left)
    out = []
    for first, second in entries:
        folds = wrapped(second, WIDTH - edge) or [""]
        if len(first) > left:
            out.append(f"  {first}")
        else:
            out.append(f"  {first:<{edge - 4}}  {folds.pop(0)}".rstrip())
        out += [" " * edge + fold for fold in folds]
    return "\n".join(out)


def folded(text: str) -> str:
    return "\n".join(wrapped(text, WIDTH))


def wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words: a command or a name is copied, and is never broken."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
