"""``calclab runs``, or ``python -m calclab.runs``: the runs of an outputs folder, listed, filtered, and pruned.

    calclab runs [outputs] --topic descent --where 'lr>0.01' --sort loss --columns +loss,lr
    calclab runs prune --status failed --before 2026-11-01            # says what would go
    calclab runs prune --status failed --before 2026-11-01 --yes      # removes it

Exit status: 0 done, 1 something could not be removed, 2 wrong input.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from calclab.archive import prune, table
from calclab.archive.disk import readable
from calclab.archive.query import STATUSES, Query, moment, order, select
from calclab.archive.read import columns, find
from calclab.archive.run import Run
from calclab.errors import UserError
from calclab.text import printable, say, warn

LISTED = 20  # of the runs that a prune is about


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` (default: the process's own arguments) asks and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    gc.disable()  # nothing that is read is garbage before the end: looking for it costs a third of the time
    try:
        return prune_runs(words[1:]) if words[:1] == ["prune"] else list_runs(words)
    except UserError as mistake:
        warn(str(mistake))
        return 2
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def list_runs(words: Sequence[str]) -> int:
    parser = filters("calclab runs", "List the runs of an outputs folder, the newest first.")
    parser.epilog = "To remove runs: calclab runs prune --help"
    parser.add_argument("--sort", default="", metavar="NAME", help="by a fact, value or knob, the smallest first")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--limit", type=natural, metavar="N", help="only the first N")
    parser.add_argument("--columns", metavar="A,B", help="these columns; +A,B: the usual ones and these")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="csv and json: all columns")
    parser.add_argument("--disk", action="store_true", help="with the size of each run and of all")
    parser.add_argument("--names", action="store_true", help="list the names that can be asked for instead")
    asked = parser.parse_args(words)
    found = find(asked.outputs)
    if asked.names:
        print("\n".join(map(printable, columns(found))), "size", sep="\n")
        return 0
    chosen = order(select(found, query(asked)), asked.sort, reverse=asked.reverse)[: asked.limit]
    everything = asked.format != "table" and not asked.columns
    names = None if everything and not asked.disk else table.columns_of(asked.columns, disk=asked.disk)
    if everything and asked.disk:
        names = [*columns(chosen), "size"]
    if asked.format == "csv":
        table.write_csv(chosen, names, sys.stdout)
    elif asked.format == "json":
        table.write_json(chosen, names, sys.stdout)
    else:
        if chosen:
            table.write(chosen, names or table.USUAL, sys.stdout)
        total = f", {readable(sum(run.size for run in chosen))}" if asked.disk else ""
        print(f"{count(chosen)} of {len(found)} in {asked.outputs}{total}")
    sys.stdout.flush()
    return 0


def prune_runs(words: Sequence[str]) -> int:
    parser = filters("calclab runs prune", "Remove runs. Without --yes it only says what would go.")
    parser.add_argument("--keep-last", type=natural, metavar="N", help="keep the newest N of the runs chosen")
    parser.add_argument("--yes", action="store_true", help="remove them")
    asked = parser.parse_args(words)
    if query(asked).empty and asked.keep_last is None:
        raise UserError(
            "prune needs to know which runs: a filter such as --status failed, or --keep-last 100 (0: all)."
        )
    made = prune.plan(select(find(asked.outputs), query(asked)), keep_last=asked.keep_last or 0)
    if not asked.yes:
        tell(made.go, "would go")
        running = [run for run, reason in made.stay if run.status == "running"]
        tell(running, "is being computed and stays")
        print(f"{count(made.go)} would go and free {readable(made.frees)}; nothing was removed. Add --yes to do it.")
        return 0
    done = prune.carry_out(made, Path(asked.outputs))
    tell(done.gone, "removed")
    for run, names in done.kept:
        print(printable(f"stays: {run.folder}: {', '.join(names)}, not of the run"), file=sys.stderr)
    for run, reason in done.stayed:
        warn(f"{run.folder}: {reason}", "stays")
    print(f"{count(done.gone)} removed, {readable(done.freed)} freed; {count(done.stayed)} could not go.")
    return 1 if done.stayed else 0


def filters(program: str, purpose: str) -> argparse.ArgumentParser:
    """What both commands choose runs by."""
    parser = argparse.ArgumentParser(program, description=purpose)
    parser.add_argument("outputs", nargs="?", default="outputs", help="the folder (default: outputs)")
    parser.add_argument("--topic", action="append", default=[], help="may be given several times, as the next two")
    parser.add_argument("--status", action="append", default=[], metavar="WORD", help=", ".join(STATUSES))
    parser.add_argument(
        "--where", action="append", default=[], metavar="'lr>0.01'", help="fact, value or knob: = != < <= > >="
    )
    parser.add_argument("--since", type=str, metavar="DATE", help="started then or later: 2026-11-01, 2026-11-01T18:30")
    parser.add_argument("--before", type=str, metavar="DATE", help="started earlier")
    return parser


def query(asked: argparse.Namespace) -> Query:
    since, before = (moment(text) if text else None for text in (asked.since, asked.before))
    return Query(asked.topic, asked.status, asked.where, since, before)


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count: type 0, 1, 2, ...")
    return int(text)


def tell(runs: Sequence[Run], what: str) -> None:
    """One line a run; of many, the first."""
    for run in runs[:LISTED]:
        say(f"{what}: {run.folder}  ({run.status}, {readable(run.size)})")
    if len(runs) > LISTED:
        print(f"{what}: {len(runs) - LISTED} more")


def count(runs: Sequence[object]) -> str:
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
