"""``calclab load``: a run read back from its folder, in the shell.

    calclab load outputs/descent/<run>              its answer, and the names of all that it holds
    calclab load outputs/descent/<run> loss         one value
    calclab load outputs/descent/<run> scalars      one of its frames, as CSV

What it prints of a name is what ``calclab.load(folder)`` has of it in Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from calclab.archive.query import unknown
from calclab.archive.read import OWN, cell
from calclab.archive.run import FACTS, UNREADABLE, Run, read_run
from calclab.errors import UserError
from calclab.report.page import page
from calclab.terminal import show
from calclab.text import printable, say, shortened


def main(words: Sequence[str]) -> int:
    """Print a run, or what of it is named; exit status 0, and UserError for what is not there."""
    parser = argparse.ArgumentParser("calclab load", description="One run read back: its answer, values and tables.")
    parser.add_argument("run", help="the folder of a run: outputs/<topic>/<run>")
    parser.add_argument("name", nargs="?", help="a value, knob, fact or frame of it; without one, all names are listed")
    asked = parser.parse_args(words)
    run = the_run(Path(asked.run))
    if asked.name is None:
        overview(run)
    else:
        one(run, asked.name)
    sys.stdout.flush()
    return 0


def the_run(folder: Path) -> Run:
    """The run in ``folder``; UserError where there is none that can be read."""
    if not any((folder / name).is_file() for name in OWN):
        many = folder.is_dir() and any(folder.glob("*/*/outcome.json"))
        raise UserError(
            f"{folder} holds many runs. Type calclab runs {folder}"
            if many
            else f"{folder}: there is no run here. Name a folder such as outputs/descent/<run>; calclab runs lists them"
        )
    run = read_run(folder)
    if run.status == UNREADABLE:
        raise UserError(f"{folder}: outcome.json cannot be read. The run's own command computes it anew.")
    return run


def overview(run: Run) -> None:
    """The answer, then what there is to ask for."""
    show(page({**run.outcome, "status": run.status}, str(run.folder)))
    names = run.names
    for heading, found in (
        ("values", list(run.values)),
        ("frames", frames(run)),
        ("pictures", [f"{name}.png" for name in names["pictures"]]),
    ):
        if found:
            say(f"{heading:<9} {', '.join(map(shortened, found))}")


def frames(run: Run) -> list[str]:
    """The names of all frames that the run has, those of its columns apart."""
    names = run.names
    there = [name for name in ("scalars", "verify") if (run.folder / f"{name}.csv").is_file()]
    return [*there, *names["trajectories"], *names["matrices"], *names["tables"]]


def one(run: Run, name: str) -> None:
    """A value, knob or fact in a line, a frame or a column of ``scalars`` as CSV; UserError for no such name."""
    if name in frames(run):
        frame = run.verify if name == "verify" else run.frames[name]
        frame.to_csv(sys.stdout, index=name != "verify")
    elif name in run.values:
        print(printable(str(cell(run.values[name]))))
    elif name in run.names["scalars"]:
        run.scalars[[name]].to_csv(sys.stdout)
    elif name in run.knobs or name in FACTS:
        print(printable(str(cell(run.knobs[name] if name in run.knobs else run.fact(name)))))
    else:
        raise unknown(name, [*run.values, *frames(run), *run.names["scalars"], *run.knobs, *FACTS])
