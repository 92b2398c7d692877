"""The pages of the reference, made of what the program itself reads: public names, ``conf/`` and the schemas."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import calclab
from calclab.schema import Knob, catalogue
from calclab.schema.knob import typed

TITLES = {
    "topic": "Topics",
    "function": "Functions",
    "network": "Networks",
    "data": "Data",
    "optimizer": "Optimizers",
    "line_search": "Line searches",
    "schedule": "Schedules",
    "law": "Laws",
    "experiment": "Studies",
    "hydra/launcher": "Launchers",
    "hydra/sweeper": "Sweepers",
}
CALLS = {"comparison": "compare"}  # topics whose function has another name
HEADINGS = {  # of public names, by module, in the order in which a reader meets them
    "calclab.library.subjects": "Subjects",
    "calclab.library.questions": "Questions",
    "calclab.library.result": "Results",
    "calclab.library.curvature": "Operators of a subject",
    "calclab.library.operator": "What an operator is",
    "calclab.library.stable_rate": "Before training",
    "calclab.app.call": "Runs",
    "calclab.archive.read": "Runs that were left",
    "calclab.errors": "Mistakes",
}


def write(folder: Path) -> None:
    """Every page, and none that was there before."""
    folder.mkdir(exist_ok=True)
    wanted = pages()
    for path in folder.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # what is unchanged is not built again
            path.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    found = {"python.md": python(), "runs.md": every_run()}
    for group, title in TITLES.items():
        name = f"{group.rpartition('/')[2]}.md"
        found[name] = {"function": functions, "experiment": studies}.get(group, group_page)(group, title)
    return {"index.md": index(found), **found}


def index(found: Mapping[str, str]) -> str:
    names = "\n".join(name.removesuffix(".md") for name in found)
    return (
        "# Reference\n\nMade of the docstrings, of `conf/` and of the schemas from which the program itself takes its "
        f"help page, its checks and its defaults.\n\n```{{toctree}}\n:maxdepth: 2\n\n{names}\n```\n"
    )


# --- public names ---


def python() -> str:
    """Every public name of ``calclab``, under the heading of its module."""
    parts = ["# Python", "What `import calclab` gives; torch is loaded when the first of it is used."]
    order = list(HEADINGS)
    for module in sorted(calclab.PUBLIC, key=lambda name: order.index(name) if name in order else len(order)):
        parts.append(f"## {HEADINGS.get(module) or heading(module)}")
        parts += [entry(name) for name in calclab.PUBLIC[module]]
    return "\n\n".join(parts) + "\n"


def heading(module: str) -> str:
    """The first words of a module's docstring."""
    first = (import_module(module).__doc__ or module).strip().splitlines()[0]
    return first.partition(":")[0].partition(". ")[0].rstrip(".")


def entry(name: str) -> str:
    """One public name, by autodoc; of a question, its knobs too."""
    found = getattr(calclab, name)
    kind = "autofunction"
    extra = ""
    if inspect.isclass(found):
        kind = "autoexception" if issubclass(found, BaseException) else "autoclass"
        extra = "\n:members:" if kind == "autoclass" else ""
    topic = next((topic for topic in catalogue.options("topic") if CALLS.get(topic, topic) == name), None)
    text = f"```{{eval-rst}}\n.. {kind}:: calclab.{name}{indented(extra)}\n```"
    return text if topic is None else f"{text}\n\nIts knobs are those of [topic={topic}](topic.md#{topic})."


def indented(text: str) -> str:
    return textwrap.indent(text, "   ")


# --- conf/ ---


def every_run() -> str:
    return (
        "# Knobs of every run\n\nAt the root of the configuration, whatever is asked.\n\n"
        + knob_table(catalogue.knobs("common", "common"), catalogue.values("", "config"), "")
        + "\n"
    )


def group_page(group: str, title: str) -> str:
    """Every option of a group, with its knobs."""
    own = catalogue.options(group)
    parts = [f"# {title}", how(group)]
    for option in own:
        parts += [f"## {option}", sentence(catalogue.description(group, option)), option_text(group, option)]
    return "\n\n".join(part for part in parts if part) + "\n"


def how(group: str) -> str:
    """How a group is chosen from, on the command line and in Python."""
    if group == "topic":
        return "The question: `topic=descent` on the command line, a function in Python."
    if group.startswith("hydra/"):
        return f"Chosen with `{group}=NAME` in a sweep (`-m`); a knob is `{group.replace('/', '.')}.KNOB=...`."
    return f"Chosen with `{group}=NAME`; a knob is `{group}.KNOB=...`."


def option_text(group: str, option: str) -> str:
    """The knobs of an option; of Hydra's groups, which have no schema, names and defaults."""
    values = catalogue.values(group, option)
    prefix = "" if group == "topic" else f"{group.replace('/', '.')}."
    if group.startswith("hydra/"):
        own = ((code(prefix + key), default(value)) for key, value in values.items() if not key.startswith("_"))
        return rows(("knob", "default"), own)
    call = f"In Python [`calclab.{CALLS.get(option, option)}`](python.md#questions).\n\n" if group == "topic" else ""
    return call + (knob_table(catalogue.knobs(group, option), values, prefix) or "It has no knobs.")


def knob_table(knobs: Mapping[str, Knob], values: Mapping[str, Any], prefix: str) -> str:
    """A line a knob: how it is typed, its default, its type and range, its meaning."""
    return rows(
        ("knob", "default", "type and range", "meaning"),
        ((code(prefix + k.name), default(values.get(k.name)), k.kind, k.meaning) for k in knobs.values()),
    )


def default(value: Any) -> str:
    """A default as it is typed, or whose it is."""
    text = typed(value)
    return f"that of {text[2:-1]}" if text.startswith("${") and text.endswith("}") else code(text)


def functions(group: str, title: str) -> str:
    """The zoo as one table, after the knobs of what a function is written as."""
    zoo, written = [], []
    for option in catalogue.options(group):
        values = catalogue.values(group, option)
        listed = values.get("expr") is not None or values.get("links") is not None
        (zoo if listed else written).append(option)
    parts = [f"# {title}", how(group)]
    for option in written:
        parts += [f"## {option}", sentence(catalogue.description(group, option)), option_text(group, option)]
    parts += ["## The zoo", "A function of the zoo has the knobs of a formula: `function.at`, `function.n`, and so on."]
    parts.append(rows(("function", "what it is", "formula"), (zoo_row(option) for option in zoo)))
    return "\n\n".join(part for part in parts if part) + "\n"


def zoo_row(option: str) -> tuple[str, str, str]:
    """A function's name, what it is and where it comes from, and its formula or links."""
    values = catalogue.values("function", option)
    source = f" ({values['source']})" if values.get("source") else ""
    formula = values.get("expr") or values.get("links")
    shown = code(formula) if isinstance(formula, str) else ", ".join(map(code, map(str, formula)))
    return code(option), catalogue.description("function", option) + source, shown


def studies(group: str, title: str) -> str:
    """The lab's own studies."""
    home = catalogue.home("experiments")
    own = [option for option in catalogue.options(group) if (home / f"{option}.yaml").is_file()]
    table = rows(("study", "what it shows"), ((code(name), catalogue.description(group, name)) for name in own))
    return f"# {title}\n\nRun with `python -m calclab experiment=NAME`; each holds its claims.\n\n{table}\n"


# --- Markdown ---


def rows(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table; empty where there are no lines."""
    body = ["| " + " | ".join(cell(text) for text in line) + " |" for line in lines]
    head = tuple(head)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body]) if body else ""


def cell(text: str) -> str:
    """A text that a table can hold: no bar ends it, no star or angle is markup, but code stays code."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    if text.startswith("`"):
        return text
    for mark in "*_<":
        text = text.replace(mark, f"\\{mark}")
    return text


def code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{text}{ticks}" if text else ""


def sentence(text: str) -> str:
    """As a sentence of its own, outside of a table."""
    return text.replace("*", "\\*").replace("_", "\\_")
