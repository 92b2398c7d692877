"""``calclab report``: a run, a sweep or a folder of runs as one HTML file, to be mailed and printed.

    calclab report outputs/descent/<run>                 writes report.html into it
    calclab report outputs/sweeps/<sweep>
    calclab report outputs --to runs.html

The page is made of the folder alone: nothing is computed again, and nothing is fetched, by it or by its reader.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from calclab.archive.folder import RECORD, listed, move_away, put, say_moved
from calclab.archive.read import OWN, find
from calclab.archive.run import UNREADABLE, read_run
from calclab.archive.sweep import is_sweep, read_sweep
from calclab.errors import UserError
from calclab.text import say, warn

NAME = "report.html"
MADE, HEAD = b'<meta name="generator" content="calclab">', 2000  # in the first bytes of every page


def main(words: Sequence[str] | None = None) -> int:
    """Write a page about what ``words`` name, and say where; exit status 0, or 2 for what is not there."""
    parser = argparse.ArgumentParser("calclab report", description="A run, a sweep or many runs as one HTML file.")
    parser.add_argument("folder", nargs="?", default="outputs", help="of a run, of a sweep, or of many (%(default)s)")
    parser.add_argument("--to", metavar="FILE", help=f"where to write it (default: {NAME} in the folder)")
    parser.add_argument("--interactive", action="store_true", help="of a run: pictures that can be zoomed and asked")
    asked = parser.parse_args(sys.argv[1:] if words is None else list(words))
    try:
        to = Path(asked.to) if asked.to else None
        say(str(report(Path(asked.folder), to, interactive=asked.interactive)))
    except UserError as mistake:
        warn(str(mistake))
        return 2
    return 0


def report(folder: Path, to: Path | None = None, *, interactive: bool = False) -> Path:
    """Write the page of a run, a sweep or a folder of runs; where it is. ``interactive`` needs the extra of that
    name."""
    from calclab.report.html.document import write

    if to is not None and (to.is_dir() or not to.name):
        raise UserError(f"{to} is a folder. Name a file: --to {to / NAME}")
    html = made(folder, interactive=interactive)
    try:
        return write(place(folder) if to is None else to, html)
    except OSError as error:
        where = folder / NAME if to is None else to
        raise UserError(f"{where} cannot be written ({error.strerror}). Name a file of yours: --to my.html") from None


def leave(folder: Path) -> None:
    """Write the page of what has just ended, and say where. What is in the way is a warning: the run is done."""
    try:
        say(f"{'report':<9} {report(folder)}")
    except UserError as mistake:
        warn(str(mistake))


def place(folder: Path) -> Path:
    """Where the page of a folder goes: into it, and on a run's list of the lab's own files. What is called so and is no
    page of the lab's makes way."""
    path = folder / NAME
    if os.path.lexists(path) and not (path.is_file() and MADE in path.read_bytes()[:HEAD]):
        say_moved(folder, [(NAME, move_away(path).name)])
    if NAME not in (listed(folder) or (NAME,)):
        put(folder, [NAME])
    return path


def made(folder: Path, *, interactive: bool = False) -> str:
    """The HTML about a folder, by what is in it; UserError where that is nothing."""
    if not folder.is_dir():
        wrong = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise UserError(f"{wrong}. Name a run's folder, outputs/<topic>/<run>; calclab runs lists them")
    whole = len(folder.parts) > 2 and ".." not in folder.parts  # the outputs that it lies in can be told from it
    place = folder if whole else Path(os.path.abspath(folder))
    try:
        return about(place, interactive=interactive)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        said = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder}: a record in it is not as calclab writes it ({said}). Compute that run anew"
        ) from error


def about(folder: Path, *, interactive: bool) -> str:
    """The page of what lies in a folder."""
    from calclab.report.html import cards
    from calclab.report.html.run import run_document
    from calclab.report.html.sweep import sweep_document

    if a_run(folder):
        run = read_run(folder)
        if run.status == UNREADABLE:
            raise UserError(f"{folder}: {RECORD} cannot be read. The run's own command computes it anew")
        if interactive:
            from calclab.app.interactive import plots

            return run_document(run, *plots(run))
        return run_document(run)
    if interactive:
        raise UserError("--interactive is for the page of a run. Name one: outputs/<topic>/<run>; or leave it out")
    if is_sweep(folder):
        return sweep_document(read_sweep(folder))
    runs = find(folder) or [read_run(path) for path in sorted(folder.iterdir()) if path.is_dir() and a_run(path)]
    if not runs:
        raise UserError(f"{folder} holds no run. Name outputs, or a run in it: outputs/<topic>/<run>")
    return cards.runs_document(folder, runs)


def a_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in OWN)


if __name__ == "__main__":
    sys.exit(main())
