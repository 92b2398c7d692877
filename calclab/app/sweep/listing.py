"""What a user gets of a sweep at its end: the best job, the jobs as a table, and what became of the others. No torch
here: who shares out jobs computes nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from calclab.app.words import FORMULA_KEYS
from calclab.archive import ranking
from calclab.archive.run import LOST
from calclab.archive.sweep import TABLE, Sweep, unquoted
from calclab.lines import Line
from calclab.terminal import show
from calclab.text import command, printable

WIDTH = 80  # of a table where nobody says how wide it may be
STYLES = {"failed": "bold red", "interrupted": "yellow", "running": "cyan"} | dict.fromkeys(LOST, "yellow")


def show_sweep(sweep: Sweep, count: int, pictures: Sequence[Path] = ()) -> None:
    """The result of a sweep of ``count`` jobs, of which some may not have begun; ``pictures`` have been drawn of it."""
    show(Line(heading, text, kind="headline") for heading, text in ranking.sentences(sweep))
    if sweep.swept and sweep.jobs:
        print_table(ranking.table(sweep))
    lines = [Line("failed" if i == 0 else "", error, kind="bad") for i, error in enumerate(ranking.errors(sweep))]
    lines.append(Line("jobs", ends(sweep, count)))
    if sweep.best is not None and sweep.judged and len(sweep.parts) == 1:
        again = command(["python", "-m", "calclab", *map(typed, sweep.best.words)])
        lines += [Line("again", again, kind="place"), Line("folder", str(sweep.best.folder), kind="place")]
    lines.append(Line("table", str(sweep.folder / TABLE), kind="place"))
    lines += [Line("picture" if i == 0 else "", str(path), kind="place") for i, path in enumerate(pictures)]
    lines.append(Line("see it", command(["python", "-m", "calclab", "board", str(sweep.folder)]), kind="place"))
    show(lines)


def typed(word: str) -> str:
    """An override as it can be typed: formulas need no quotes but the shell's."""
    key, _, value = word.partition("=")
    return f"{key}={unquoted(value)}" if key in FORMULA_KEYS else word


def print_table(table: ranking.Table) -> None:
    """Aligned text; on a terminal as wide as that, the words coloured by their status."""
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{line}\n" for line, _ in table.lines(WIDTH))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    head, *lines = table.lines(shutil.get_terminal_size((WIDTH, 24)).columns)
    console.print(Text(head[0], "dim"), soft_wrap=True)
    for i, (line, status) in enumerate(lines):
        console.print(Text(line, STYLES.get(status, "bold" if i == 0 else "")), soft_wrap=True)


def ends(sweep: Sweep, count: int) -> str:
    """How many jobs there are of each kind."""
    found = Counter(job.status for job in sweep.jobs)
    away = sum(job.lost for job in sweep.jobs)
    apart = {
        "interrupted": found["interrupted"],
        "being computed by another process": found["running"],
        "not begun": count - len(sweep.jobs),
        "diverged": away,
    }
    done = len(sweep.jobs) - found["failed"] - found["interrupted"] - found["running"]
    more = "".join(f", {number} {what}" for what, number in apart.items() if number)
    return printable(f"{done} of {count} jobs done, {found['failed']} failed{more}")
