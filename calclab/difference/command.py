"""``calclab compare``: what differs between runs, in configuration and in outcome, and their curves over each other.

    calclab compare outputs/descent/<run> outputs/descent/<run>
    calclab compare 'outputs/descent/*adam*' 5d9a26           globs, and digests as calclab runs lists them
    calclab compare outputs/sweeps/<sweep>                    all jobs of a sweep
    calclab compare A B --png curves.png --html page.html --show loss,sharpness

All is read from the folders of the runs; nothing is computed again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from calclab.archive.folder import replace_file
from calclab.archive.ranking import fitted
from calclab.difference.choice import choose
from calclab.difference.compared import DIGITS, Compared
from calclab.difference.courses import letters
from calclab.errors import UserError
from calclab.lines import Line, Table
from calclab.terminal import show
from calclab.text import say

WIDTH = 80
LABEL = 11  # columns left of a table
OPTIONS = ("png", "svg", "pdf", "html", "show", "outputs")
PICTURES = ("png", "svg", "pdf")


def main(words: Sequence[str]) -> int:
    """Compare the runs that ``words`` name; exit status 0, and UserError for a word that names none."""
    parser = argparse.ArgumentParser(
        "calclab compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", help="folders of runs, sweeps or topics, globs, digests")
    parser.add_argument("--show", default="", metavar="A,B", help="the curves to draw, by name")
    parser.add_argument("--png", "--svg", "--pdf", dest="picture", metavar="FILE", help="the curves as a picture")
    parser.add_argument("--html", metavar="FILE", help="all of it as one page to mail")
    parser.add_argument("--outputs", default="outputs", metavar="FOLDER", help="where digests are looked up (outputs)")
    asked = parser.parse_args([spelt(word) for word in words])
    paths = {kind: Path(given) for kind in ("picture", "html") if (given := getattr(asked, kind))}
    check(paths)
    runs = choose(asked.runs, Path(asked.outputs))
    if len(runs) < 2:
        found = f"{runs[0].folder} is one run, and" if runs else "there is nothing to compare:"
        raise UserError(
            f"{found} a comparison takes two or more. Type calclab compare outputs/descent/<run> 5d9a26 (folders, "
            "globs in quotes, digests; calclab runs lists them)"
        )
    compared = Compared(runs, [name for name in asked.show.split(",") if name])
    tell(compared)
    for kind, path in paths.items():
        write(path, compared.page() if kind == "html" else compared.picture(path.suffix[1:]))
    return 0


def spelt(word: str) -> str:
    """``html=page.html`` is ``--html=page.html``."""
    key, equals, _ = word.partition("=")
    return f"--{word}" if equals and key in OPTIONS else word


def check(paths: dict[str, Path]) -> None:
    """UserError for a file that will not be written, before anything is read."""
    for kind, path in paths.items():
        known = PICTURES if kind == "picture" else ("html",)
        if path.suffix[1:] not in known:
            line = f"--{known[0]} {path.stem}.{known[0]}"
            raise UserError(f"{path}: a {kind} is written as {', '.join(f'.{end}' for end in known)}. Type {line}")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UserError(
                f"{path} is no place for a file. Name one in a folder that is there: --{known[0]} my{path.suffix}"
            )


def write(path: Path, content: str | bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}). Name a file of yours") from None
    say(f"written   {path}")


def tell(compared: Compared) -> None:
    """Sentences, tables, and the first curve, in the terminal."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    first, *others = compared.sentences()
    show([Line("compare", compared.subject, kind="title"), Line("answer", first, kind="headline")])
    show(Line("", text) for text in others)
    show(
        Line("runs" if i == 0 else "", f"{letter}  {name or '-'}  ({(run.digest or '')[:DIGITS]})")
        for i, (letter, name, run) in enumerate(compared.named())
    )
    if not compared.many:
        show(narrow(table, width - LABEL) for table in compared.tables())
    else:
        for line, _ in compared.ranking().lines(width):
            say(line)
    if compared.panels:
        say("")
        for line in letters(compared.panels[0], min(width, WIDTH)):
            say(line)
        if left := len(compared.sides.runs) - len(compared.drawn):
            say(f"the curves are those of {len(compared.drawn)} runs, the best first; {left} are not drawn")


def narrow(table: Table, width: int) -> Table:
    """The table with its longest texts clipped, names only where they take more than half of the room."""
    every = [table.head, *table.rows]
    names = fitted([row[:1] for row in every], width // 2)
    rest = fitted([row[1:] for row in every], width - max(len(name) for (name,) in names) - 2)
    head, *rows = [[*name, *row] for name, row in zip(names, rest, strict=True)]
    return Table(table.label, head, rows)
