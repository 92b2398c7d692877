"""What a user gets of a sweep at its end: its jobs as a table. No torch here: who shares out jobs computes nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calclab.text import printable, say

LISTED = 50  # jobs of a sweep that are shown one by one
SHOWN = ("job", "overrides", "status", "objective", "seconds", "folder", "error")


def show_sweep(rows: Sequence[Mapping[str, Any]], count: int, place: Path) -> None:
    """The jobs of a sweep as a table, failures last and loud; ``count`` is how many there are in all."""
    failed = [row for row in rows if row["status"] == "failed"]
    others = Counter(row["status"] for row in rows)
    every, rows = rows, few(rows)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        names = [name for name in SHOWN if any(row.get(name) not in (None, "") for row in rows)]
        table = Table(*names)
        for row in [*(row for row in rows if row not in failed), *failed]:
            table.add_row(*(Text(text(row.get(name))) for name in names), style="bold red" if row in failed else None)
        Console().print(table)
    else:
        for row in rows:
            say("  ".join(f"{name}={text(row[name])}" for name in SHOWN if row.get(name) not in (None, "")))
    if len(rows) < len(every):
        print(f"... and {len(every) - len(rows)} more that did not fail")
    apart = {
        "interrupted": others["interrupted"],
        "being computed by another process": others["running"],
        "not begun": count - len(every),
    }
    done = len(every) - len(failed) - others["interrupted"] - others["running"]
    more = "".join(f", {number} {what}" for what, number in apart.items() if number)
    say(f"{done} of {count} jobs done, {len(failed)} failed{more}; table: {place / 'sweep.csv'}")


def few(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """All of a short table; of a long one the first jobs and those that failed."""
    return rows if len(rows) <= LISTED else [*rows[:LISTED], *(r for r in rows[LISTED:] if r["status"] == "failed")]


def show_best(search: Mapping[str, Any]) -> None:
    """The best trial of a search: its objective, what to type for it, and its folder."""
    best = search["best"]
    if best is None:
        print("no trial has come to an objective yet")
    else:
        say(f"best ({search['direction']}): objective={text(best['value'])}  {best['overrides']}  {best['folder']}")


def text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else printable(str(value))
