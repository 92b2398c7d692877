"""Many runs on one page, a card each: its answer, a small picture, its claims and verdict, and the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calclab.archive.run import Run
from calclab.report import page
from calclab.report.html.captions import caption
from calclab.report.html.document import Figure, Table, data, document
from calclab.report.html.pictures import TYPESET, of_folder, squeezed
from calclab.report.html.run import moment, sentence
from calclab.report.numbers import seconds

WIDTH = 640  # pixels of a small picture
SMALL = 2_000_000  # bytes of small pictures on a page
ROWS = 1000  # of the table
CARDS = 120


@dataclass(frozen=True)
class Card:
    """What a page of many tells of one run, or of a study that has none; cards of one ``group`` stand together."""

    name: str
    group: str = ""
    title: str = ""
    about: str = ""
    answer: str = ""
    status: str = ""
    verdict: str = ""
    claims: Sequence[Mapping[str, Any]] = ()
    command: str = ""
    folder: Path | None = None
    pictures: Sequence[Mapping[str, Any]] = ()
    # of a study: the claim in the paper's words, where it stands, what the paper's picture shows, what differs here;
    # what the claims come to, whether that is what the study says, and how long all its runs took
    quote: str = ""
    source: str = ""
    beside: str = ""
    note: str = ""
    held: str = ""
    expected: bool = True
    seconds: str = ""


def card(run: Run) -> Card:
    """The card of a run."""
    record = run.outcome
    headline, _ = page.answer(record)
    return Card(
        run.folder.name,
        title=record.get("title") or run.folder.name,
        answer=sentence(headline) if headline else str(record.get("error") or ""),
        status=run.status,
        verdict=str((record.get("evidence") or {}).get("verdict") or ""),
        claims=record.get("claims") or (),
        command=str((record.get("provenance") or {}).get("command") or ""),
        folder=run.folder,
        pictures=record.get("pictures") or (),
    )


def cards_document(title: str, introduction: str, cards: Sequence[Card], table: Table | None = None) -> str:
    """A page of cards below an introduction and a table; each shows one picture, as far as there is room."""
    room = SMALL
    shown: list[tuple[Card, Figure | None]] = []
    for each in cards[:CARDS]:
        picture = thumbnail(each, room)
        room -= len(picture.source) if picture else 0
        shown.append((each, picture))
    more = f"{len(cards) - CARDS} more are in the table" if len(cards) > CARDS else ""
    return document("cards", title=title, introduction=introduction, held=table, cards=shown, more=more)


def thumbnail(of: Card, room: int) -> Figure | None:
    """The first picture of a run, small; None where there is none, or no room."""
    for path, known in of_folder(of.folder, of.pictures) if of.folder else ():
        if path.suffix == ".png" and path.stem != TYPESET:
            source = data(squeezed(path.read_bytes(), WIDTH), "webp")
            return (
                Figure(f"{of.name}-{path.stem}", caption(known).shows, source=source) if len(source) <= room else None
            )
    return None


def runs_document(folder: Path, runs: Sequence[Run]) -> str:
    """The page of all runs in a folder, the newest first; where it lies is nothing to tell those who are sent it."""
    newest = sorted(runs, key=lambda run: str(run.fact("started") or ""), reverse=True)
    cards = [card(run) for run in newest]
    return cards_document(
        f"{len(runs)} run{'s' * (len(runs) != 1)} in {folder.name}",
        "Each with its answer, what its evidence says, and the command that shows it again.",
        cards,
        overview(newest[:ROWS], len(runs)),
    )


def overview(runs: Iterable[Run], count: int) -> Table:
    """A row a run."""
    heads = ("topic", "subject", "status", "verdict", "steps", "seconds", "started", "folder")
    rows = [
        (
            run.topic,
            run.fact("subject"),
            run.status,
            run.fact("verdict"),
            run.fact("steps"),
            seconds(spent) if isinstance(spent := run.fact("seconds"), float) else "",
            moment(run.fact("started"), "%Y-%m-%d %H:%M"),
            run.folder.name,
        )
        for run in runs
    ]
    more = f"… and {count - ROWS} more: calclab runs lists them all" if count > ROWS else ""
    return Table(heads, rows, wide=("folder",), more=more)
