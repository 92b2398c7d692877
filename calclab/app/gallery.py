"""``calclab gallery``: all studies on one page, each with its command, its picture, its claims and its verdict.

    calclab gallery                          every study of experiments/, here and of the lab's own
    calclab gallery experiments/notebook     those of a folder
    calclab gallery --found                  only what has been run already is shown, and nothing is computed

A study that has not been run is run first; one that has, is found. The page is one HTML file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from calclab.errors import UserError
from calclab.report.html.cards import Card, card, cards_document
from calclab.report.html.document import write
from calclab.schema import catalogue
from calclab.text import command, say, warn

NAME = "gallery.html"
STOPPED = "interrupted"


def main(words: Sequence[str] | None = None) -> int:
    """Write the page and say where it is; exit status 0, 2 for a folder without studies, 3 where a claim does not hold,
    130 when it was interrupted: the same command goes on."""
    parser = argparse.ArgumentParser("calclab gallery", description="All studies as one page.")
    parser.add_argument("folder", nargs="?", help="of studies (default: every experiments/)")
    parser.add_argument("--found", action="store_true", help="compute nothing: show what has been run")
    parser.add_argument("--outputs", default="outputs", metavar="FOLDER", help="where the runs are (%(default)s)")
    parser.add_argument("--to", metavar="FILE", help=f"where to write the page (default: {NAME} in the outputs)")
    asked = parser.parse_args(sys.argv[1:] if words is None else list(words))
    try:
        names = studies(asked.folder)
        cards = list(told(names, asked.outputs, run=not asked.found))
        html = cards_document("Studies", introduction(cards), cards)
        say(str(write(Path(asked.to or Path(asked.outputs) / NAME), html)))
    except UserError as mistake:
        warn(str(mistake))
        return 2
    if any(each.status == STOPPED for each in cards):
        return 130
    return 0 if all(claim.get("holds") for each in cards for claim in each.claims) else 3


def studies(folder: str | None) -> list[str]:
    """The names of the studies in a folder, or of all; UserError where there are none."""
    every = catalogue.options("experiment")
    if folder is None:
        return every
    place = Path(folder).resolve()
    found = [name for name in every if place in (catalogue.path("experiment", name) or Path()).resolve().parents]
    if not found:  # the lab's own, from wherever one stands
        group = f"{folder.strip('/').removeprefix('experiments/')}/"
        found = [name for name in every if name.startswith(group)]
    if not found:
        groups = sorted({name.rpartition("/")[0] for name in every} - {""})
        raise UserError(
            f"{folder} holds no studies. There are: {', '.join(f'experiments/{group}' for group in groups)}"
        )
    return found


def told(names: Sequence[str], outputs: str, *, run: bool) -> Iterator[Card]:
    """The card of every study, run where it has not been (with ``run``)."""
    stopped = False
    for i, name in enumerate(names):
        words = [f"experiment={name}", f"outputs={outputs}"]
        about = catalogue.description("experiment", name)
        blank = Card(name, name.rpartition("/")[0], name, about, command=command(["python", "-m", "calclab", words[0]]))
        if stopped:
            yield blank
            continue
        print(f"{i + 1} of {len(names)}: {name}", file=sys.stderr, flush=True)
        made = answered(blank, words, run=run)
        stopped = made.status == STOPPED
        yield made


def answered(blank: Card, words: Sequence[str], *, run: bool) -> Card:
    """A study's card with its run's answer; with the mistake where it cannot be run."""
    from calclab.app import call

    name = blank.name
    try:
        found = call.run(*words) if run else call.found(*words)
    except UserError as mistake:
        return replace(blank, answer=str(mistake), status="failed")
    if found is None:
        return blank
    made = card(found)
    return replace(made, name=name, group=blank.group, title=name, about=blank.about, command=blank.command)


def introduction(cards: Sequence[Card]) -> str:
    """How many there are, and how they stand."""
    claims = [claim for each in cards for claim in each.claims]
    held = sum(bool(claim.get("holds")) for claim in claims)
    missing = sum(not each.status for each in cards)
    more = f" {missing} have not been run." if missing else ""
    told = f", of whose {len(claims)} claims {'all' if held == len(claims) else held} hold" if claims else ""
    return f"{len(cards)} studies{told}.{more}"
