"""The help page: what to type, and for the chosen topic every knob with its meaning, type, range and default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calclab.app import commands
from calclab.errors import UserError
from calclab.schema import Knob, catalogue
from calclab.schema.knob import typed

EXAMPLES = """\
  python -m calclab topic=descent lr=0.05
  python -m calclab topic=hessian network=mlp data=iris
  python -m calclab topic=jacobian function.expr='[x0**2 + x1, x0*x1]' function.at='[1,2]'
  python -m calclab -m topic=descent lr=0.001,0.01,0.1         a sweep
  python -m calclab experiment=notebook/07_bowl                a study with its claims
  tensorboard --logdir outputs"""

FLAGS = """\
  -m, --multirun   run every combination of the values given as a,b,c
  -c, --cfg job    print the configuration and stop
  -h, --help       this page; with topic=<name> for that topic, with a group (--help function) for all its choices
      -sc install=bash   tab completion: eval "$(calclab -sc install=bash)\""""


def main(words: Sequence[str]) -> int:
    """Print the page that ``words`` ask for; of a command its own."""
    if words[:1] and words[0] in commands.COMMANDS:
        return commands.answer([words[0], "--help"])
    print(page([word for word in words if not word.startswith("-")]))
    return 0


MANY = 40  # choices of a group up to which the front page names them all


def page(words: Sequence[str]) -> str:
    """The help page for the choices among ``words`` (topic=, network=, data=, ...); UserError for an unknown one.

    A group by its name alone (``function`` or ``function=``) asks for the list of its choices instead.
    """
    chosen: dict[str, str] = {"topic": "descent"}
    asked: list[str] = []
    for word in words:
        group, _, option = word.partition("=")
        if group in catalogue.GROUPS and not option:
            asked.append(group)
        elif group in catalogue.GROUPS:
            if option not in catalogue.options(group):
                raise UserError(catalogue.unknown(group, option))
            chosen[group] = option
    if asked:
        return "\n\n".join(f"Choices of {group} ({group}=name)\n{listing(group)}" for group in asked)
    topic = chosen["topic"]
    own = referred(catalogue.values("topic", topic), catalogue.default_of(topic) | chosen)
    everyone = catalogue.values("", "config")
    parts = [
        "calclab: a lab for the calculus under neural networks. Every number carries its evidence.",
        f"Type\n{EXAMPLES}",
        "Commands\n" + commands.table(),
        "Topics\n" + listing("topic"),
        f"Knobs of topic={topic}: {catalogue.description('topic', topic)}\n"
        + table(catalogue.knobs("topic", topic), own),
        "Knobs of every run\n" + table(catalogue.knobs("common", "common"), everyone | own),
    ]
    for group in catalogue.PARTS:
        if group in chosen:
            option = chosen[group]
            knobs = catalogue.knobs(group, option)
            heading = f"Knobs of {group}={option}: {catalogue.description(group, option)}\n"
            parts.append(heading + table(knobs, catalogue.values(group, option), f"{group}."))
    parts += ["Choices (group=name; add --help to a choice for its knobs)\n" + choices(), f"Flags\n{FLAGS}"]
    return "\n\n".join(parts)


def choices() -> str:
    """Every group and the names of its choices, or how many they are and how to list them."""
    groups = catalogue.GROUPS[1:]
    width = max(map(len, groups)) + 2

    def names(group: str) -> str:
        found = catalogue.options(group)
        if len(found) > MANY:
            return f"{len(found)} of them; --help {group} lists them all"
        return wrapped(found, indent=width + 2)

    return "\n".join(f"  {group:<{width}}{names(group)}" for group in groups)


def referred(values: Mapping[str, object], chosen: Mapping[str, str]) -> dict[str, object]:
    """Defaults as they come out: a default that refers to a part of the run (${optimizer.lr}) is that part's own."""

    def value(given: object) -> object:
        group, dot, knob = (
            given[2:-1].partition(".") if isinstance(given, str) and given.startswith("${") else ("",) * 3
        )
        return catalogue.values(group, chosen[group]).get(knob) if dot and group in chosen else given

    return {name: value(given) for name, given in values.items()}


def listing(group: str) -> str:
    """The choices of a group, a line each with what it is."""
    names = catalogue.options(group)
    width = max(map(len, names), default=0)
    return "\n".join(f"  {name:<{width}}  {catalogue.description(group, name)}" for name in names)


def table(knobs: Mapping[str, Knob], defaults: Mapping[str, object], prefix: str = "") -> str:
    if not knobs:
        return "  none"
    rows = [
        (f"{prefix}{knob.name}={typed(defaults.get(knob.name))}", knob.kind, knob.meaning) for knob in knobs.values()
    ]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    first, second = min(first, 32), min(second, 44)
    return "\n".join(f"  {a:<{first}}  {b:<{second}}  {c}" for a, b, c in rows)


def wrapped(names: Sequence[str], indent: int, width: int = 105) -> str:
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) + 2 > width:
            lines.append(line)
            line = ""
        line += f"{', ' if line else ''}{name}"
    return ("\n" + " " * indent).join([*lines, line])
