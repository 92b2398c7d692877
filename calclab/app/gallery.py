"""``calclab gallery``: studies on one page, each with its claim and source, its command, its picture and its verdict.

    calclab gallery                              every study of experiments/, here and of the lab's own
    calclab gallery experiments/notebook         those of a folder
    calclab gallery published/rates/best --seeds 20    one study, with more seeds than it asks for
    calclab gallery --short                      smaller sizes and one seed: every claim is still checked
    calclab gallery --found                      only what has been run already is shown, and nothing is computed

A study is run at every value that its ``study.sweep`` names, with as many seeds as ``study.seeds``: each is a trial. A
trial that has not been run is run first; one that has, is found. The page is one HTML file.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calclab.errors import UserError
from calclab.report.html.cards import Card, card, cards_document
from calclab.report.html.document import write
from calclab.report.numbers import seconds
from calclab.schema import catalogue
from calclab.schema.knob import typed
from calclab.schema.study import FAILS, HOLDS, Study, study
from calclab.study.verdict import SEED, Trial, summaries, verdict
from calclab.text import command, say, warn

NAME = "gallery.html"
STOPPED = "interrupted"


@dataclass(frozen=True)
class Asked:
    """How studies are to be run: the outputs, only what is there (``found``), the short form, how many seeds."""

    outputs: str
    found: bool
    short: bool
    seeds: int | None


def main(words: Sequence[str] | None = None) -> int:
    """Write the page and say where it is; exit status 0, 2 for a folder without studies, 3 where claims come to another
    verdict than the study says, 130 when it was interrupted: the same command goes on."""
    parser = argparse.ArgumentParser("calclab gallery", description="Studies, their claims and verdicts, as one page.")
    parser.add_argument("folder", nargs="?", help="of studies, or one study (default: every experiments/)")
    parser.add_argument("--short", action="store_true", help="the short form: smaller sizes and one seed")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many seeds (default: as many as a study names)")
    parser.add_argument("--found", action="store_true", help="compute nothing: show what has been run")
    parser.add_argument("--outputs", default="outputs", metavar="FOLDER", help="where the runs are (%(default)s)")
    parser.add_argument("--to", metavar="FILE", help=f"where to write the page (default: {NAME} in the outputs)")
    given = parser.parse_args(sys.argv[1:] if words is None else list(words))
    try:
        if given.seeds is not None and given.seeds < 1:
            raise UserError(f"--seeds {given.seeds}: at least 1. Type for example --seeds 10")
        names = studies(given.folder)
        asked = Asked(given.outputs, given.found, given.short, given.seeds)
        cards = list(answered(names, asked))
        html = cards_document("Studies", introduction(cards, short=given.short), cards)
        say(str(write(Path(given.to or Path(given.outputs) / NAME), html)))
    except UserError as mistake:
        warn(str(mistake))
        return 2
    if any(each.status == STOPPED for each in cards):
        return 130
    return 0 if all(each.expected for each in cards) else 3


def studies(folder: str | None) -> list[str]:
    """The names of the studies in a folder, or of all, or the one named; UserError where there are none."""
    every = catalogue.options("experiment")
    if folder is None:
        return every
    place = Path(folder).resolve()
    found = [name for name in every if place in (catalogue.path("experiment", name) or Path()).resolve().parents]
    inner = folder.strip("/").removeprefix("experiments/").removesuffix(".yaml")
    if not found:  # the lab's own, from wherever one stands
        found = [name for name in every if name == inner or name.startswith(f"{inner}/")]
    if not found:
        groups = sorted({name.rpartition("/")[0] for name in every} - {""})
        raise UserError(
            f"{folder} holds no studies. There are: {', '.join(f'experiments/{group}' for group in groups)}"
        )
    return found


def answered(names: Sequence[str], asked: Asked) -> Iterator[Card]:
    """The card of every study, run where it has not been."""
    stopped = False
    for i, name in enumerate(names):
        about = catalogue.description("experiment", name)
        typed_words = command(["python", "-m", "calclab", f"experiment={name}"])
        blank = Card(name, name.rpartition("/")[0], name, about, command=typed_words)
        if stopped:
            yield blank
            continue
        print(f"{i + 1} of {len(names)}: {name}", file=sys.stderr, flush=True)
        made = of_study(blank, asked)
        stopped = made.status == STOPPED
        yield made


def of_study(blank: Card, asked: Asked) -> Card:
    """A study's card with what its trials came to; with the mistake where it cannot be run."""
    from calclab.app import call

    try:
        file = described(blank.name)
        of = study(file.get("study"), blank.name)
        blank = replace(blank, quote=of.words or "", source=source(of), beside=of.picture or "", note=of.note or "")
        runs = []
        for setting in settings(of, asked):
            short = of.short if asked.short else []
            words = [f"experiment={blank.name}", *short, *(f"{key}={value}" for key, value in setting.items())]
            run = (call.found if asked.found else call.run)(*words, f"outputs={asked.outputs}")
            if run is not None:
                runs.append((setting, run))
            if run is not None and run.status == STOPPED:
                break
    except UserError as mistake:
        return replace(blank, answer=str(mistake), status="failed", expected=asked.found)
    if not runs:
        return blank
    trials = [Trial(setting, run.outcome.get("claims") or ()) for setting, run in runs]
    made = card(runs[0][1])
    made = replace(made, name=blank.name, group=blank.group, title=blank.title, about=blank.about, quote=blank.quote)
    made = replace(made, source=blank.source, beside=blank.beside, note=blank.note, command=blank.command)
    if of.shows:
        made = replace(made, pictures=[picture for picture in made.pictures if picture.get("name") == of.shows])
    spent = [run.fact("seconds") for _, run in runs]
    made = replace(made, seconds=told(spent, len(runs)), status=runs[-1][1].status)
    if not made.claims:
        return made
    found = verdict(trials)
    rows = [
        {"text": row.text, "holds": row.holds, "found": row.found, "count": row.count}
        for row in summaries(trials, general(file.get("claims")))
    ]
    return replace(made, claims=rows, held=found, expected=found == of.verdict)


def described(name: str) -> dict[str, object]:
    """What a study's file says now; nothing where it cannot be read, which its run will tell."""
    import yaml

    try:
        place = catalogue.path("experiment", name)
        found = yaml.safe_load(place.read_text(encoding="utf-8")) if place else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def general(claims: object) -> list[str]:
    """Claims in words with the names of knobs where a trial has their values: "edge is at least 1 - lr**2/4"."""
    from calclab.study.claims import describe

    return [re.sub(r"\$\{([\w.]+)\}", r"\1", describe(claim)) for claim in (claims if isinstance(claims, list) else [])]


def settings(of: Study, asked: Asked) -> list[dict[str, str]]:
    """The knobs of every trial: each combination of what is swept, with every seed where there are several."""
    count = asked.seeds or (1 if asked.short else of.seeds)
    swept = {key: [typed(value) for value in many] for key, many in of.sweep.items()}
    if count > 1:
        swept[SEED] = [str(seed) for seed in range(count)]
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def source(of: Study) -> str:
    """Where the claim stands: "Title, arXiv 1312.6120, equation 9"."""
    return ", ".join(filter(None, (of.paper, f"arXiv {of.arxiv}" if of.arxiv else "", of.equation)))


def told(spent: Sequence[object], count: int) -> str:
    """The seconds of all trials together."""
    numbers = [value for value in spent if isinstance(value, int | float) and math.isfinite(value)]
    together = f" ({count} runs)" if count > 1 else ""
    return f"{seconds(sum(numbers))}{together}" if numbers else ""


def introduction(cards: Sequence[Card], *, short: bool) -> str:
    """How many there are, and how they stand."""
    claims = [claim for each in cards for claim in each.claims]
    held = sum(bool(claim.get("holds")) for claim in claims)
    bounded = sum(each.held not in ("", HOLDS, FAILS) for each in cards)
    missing = sum(not each.status for each in cards)
    more = f" {missing} have not been run." if missing else ""
    only = f" {bounded} hold only for what they name." if bounded else ""
    form = " This is the short form: smaller sizes, one seed." if short else ""
    counted = f", of whose {len(claims)} claims {'all' if held == len(claims) else held} hold" if claims else ""
    return f"{len(cards)} studies{counted}.{only}{more}{form}"
