"""The page of one run, from its folder alone: the question, the answer, the pictures, what it rests on, and how to run
it again."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from calclab.archive.run import Run
from calclab.lines import Line, Said
from calclab.report import page
from calclab.report.html.document import VERDICTS, Script, Table, document, yaml_lines
from calclab.report.html.pictures import ROOM, TYPESET, figures, of_folder
from calclab.report.numbers import number, seconds
from calclab.text import command, of_cell

QUESTIONS = {
    "derivative": "How fast does {f} change{place}, and which way is down?",
    "partial": "How does {f} change with each of its variables{place}?",
    "chain": "How does a small change pass through {f} link by link, and what is the derivative of the whole{place}?",
    "descent": "Where does {optimizer} lead on {f}, how fast, and what kind of point does it reach?",
    "comparison": "Which optimizer does best on {f}, each at the best of its own learning rates?",
    "hessian": "How is {f} curved{place}: which directions are stiff, which are flat, and is it a minimum?",
    "jacobian": "What does {f} do to small changes of its inputs{place}: what does it stretch, and what does it lose?",
    "importance": "Which inputs matter to {f}, and how far is the ranking to be trusted?",
    "influence": "Which training rows made the prediction of {f}, and does training without them say so?",
    "law": "What does theory say of {f}, and is that what is measured?",
    "watch": "How does the training of {f} with {optimizer} go?",
}
MEANING = {
    None: "Nothing was checked.",
    "certified": "Each number that was checked is proven to lie within its bound",
    "consistent": "Independent ways to the numbers agree, which is good evidence, and no proof",
    "inconclusive": "Some estimates are too rough to tell",
    "undefined": "In places no such number exists: a kink, a jump, a pole, or nothing finite",
    "suspect": "Floating point loses digits here: fewer of those shown are to be trusted",
    "refuted": "Independent evidence contradicts a number: do not use it before you know why",
}
UNNAMED = ("formula", "links", "vector")  # subjects that are called by how they were given
UNFINISHED = {"running": "is still running", "interrupted": "was interrupted"}
ASIDE = ("title", "answer", "status", "error", "evidence", "claims", "note", "folder", "see it")  # not of the answer
CHECKS = ("step", "quantity", "method", "value", "reference", "gap", "bound", "tolerance", "verdict", "note")
ROWS = 200  # of evidence, at most, worst first
ENTRIES = 8  # of a vector, or of one axis of a matrix


def run_document(run: Run, plots: Mapping[str, str] | None = None, scripts: Sequence[str] = ()) -> str:
    """The HTML of the run in a folder. ``plots`` are pieces of HTML for pictures by name, which ``scripts`` bring to
    life: they stand in place of the files."""
    record = run.outcome
    formulas = list(record.get("latex") or ())
    files = of_folder(run.folder, record.get("pictures") or ())
    shown = {path: known for path, known in files if not (formulas and path.stem == TYPESET)}
    pictures, left = figures(shown, ROOM - sum(map(len, scripts)))
    pictures = [replace(each, markup=(plots or {}).get(each.name, "")) for each in pictures]
    found = record.get("evidence") or {}
    headline, _ = page.answer(record)
    return document(
        "run",
        scripts=[Script(text) for text in scripts],
        title=record.get("title") or run.folder.name,
        topic=record.get("topic") or run.topic,
        started=moment(run.fact("started")),
        status=run.status,
        verdict=found.get("verdict"),
        question=question(record),
        formulas=formulas,
        typed=typed(record),
        sentences=[sentence(text) for text in (headline, confidence(found), ending(run)) if text],
        said=[entry for entry in page.page(record, "") if told(entry)] if "sentence" in record else [],
        pictures=pictures,
        left=left,
        numbers=numbers((record.get("answer") or {}).get("values") or record.get("last") or {}),
        evidence=found.get("sentence"),
        checks=checks(run.folder, found),
        claims=claims(record.get("claims") or ()),
        held=all(claim.get("holds") for claim in record.get("claims") or ()),
        commands=commands(run),
        config=yaml_lines({key: value for key, value in run.config.items() if key != "topic" and value is not None}),
        made=list(made(record)),
    )


def question(record: Mapping[str, Any]) -> str:
    """What was asked, as a sentence."""
    config = record.get("config") or {}
    subject = record.get("subject") or "the function"
    function = config.get("function") if not config.get("network") else None
    at = (function or {}).get("at") if isinstance(function, Mapping) else None
    place = ""
    if isinstance(at, list) and 0 < len(at) <= 6 and all(isinstance(entry, int | float) for entry in at):
        place = f" at ({', '.join(map(number, at))})" if len(at) > 1 else f" at {number(at[0])}"
    form = QUESTIONS.get(str(record.get("topic")), "What is there to say of {f}?")
    optimizer = (record.get("choices") or {}).get("optimizer") or "the optimizer"
    return form.format(f="f" if subject in UNNAMED else subject, place=place, optimizer=optimizer)


def typed(record: Mapping[str, Any]) -> str:
    """The formula as it was typed; nothing of a network or a callable."""
    config = record.get("config") or {}
    function = config.get("function") if not config.get("network") else None
    found = (function or {}).get("expr") if isinstance(function, Mapping) else None
    return f"[{', '.join(map(str, found))}]" if isinstance(found, list) else str(found or "")


def confidence(found: Mapping[str, Any]) -> str:
    """How far the answer is to be trusted."""
    verdict = found.get("verdict")
    meaning = MEANING.get(verdict, "")
    return meaning if verdict is None else f"{meaning} ({found.get('sentence')})"


def ending(run: Run) -> str:
    """How the run ended, and whether a study's claims hold."""
    record, steps = run.outcome, run.fact("steps")
    if run.status in UNFINISHED:
        return f"The run {UNFINISHED[run.status]}: this is what it has so far"
    spent = seconds(float(record.get("seconds") or 0.0))
    told = f"{record.get('sentence')} (step {steps}, {spent})" if steps else f"took {spent}"
    every = record.get("claims") or ()
    held = sum(bool(claim.get("holds")) for claim in every)
    more = f"; {'all' if held == len(every) else held} of the {len(every)} claims of the study hold" if every else ""
    return f"The run {told}{more}"


def sentence(text: str) -> str:
    """A text with a capital and a full stop; a formula at its beginning stays as it is."""
    first = text.split(" ")[0]
    word = first == "a" or (first.isalpha() and len(first) > 1)
    begun = text[:1].upper() + text[1:] if word else text
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def told(entry: Said) -> bool:
    """Whether a line or table of what is said of the run is part of its answer."""
    return not (isinstance(entry, Line) and (entry.label in ASIDE or entry.kind in ("title", "headline", "place")))


def numbers(values: Mapping[str, Any]) -> Table:
    """The answer's numbers and words, a row each."""
    return Table(("name", "value"), [(name, quantity(value)) for name, value in values.items()], wide=("value",))


def quantity(value: Any) -> str:
    """A number, vector or matrix of a record in a line; of a large one its shape."""
    if isinstance(value, Mapping):
        return f"{' × '.join(map(str, value.get('shape', ())))} entries, in a file of its own"
    if isinstance(value, list):
        if len(value) > ENTRIES or any(isinstance(row, list) and len(row) > ENTRIES for row in value):
            return f"{' × '.join(map(str, shape(value)))} entries"
        return f"[{', '.join(map(quantity, value))}]"
    return number(value) if isinstance(value, float) else str(value)


def shape(value: Any) -> list[int]:
    return [len(value), *shape(value[0])] if isinstance(value, list) and value else []


def checks(folder: Path, found: Mapping[str, Any]) -> Table:
    """All evidence, worst first; where verify.csv is not there, what the record kept."""
    try:
        with open(folder / "verify.csv", encoding="utf-8", newline="") as file:
            rows: Sequence[Mapping[str, Any]] = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        rows = found.get("rows") or ()
    ranked = sorted(rows, key=lambda row: -VERDICTS.index(row["verdict"]) if row.get("verdict") in VERDICTS else 0)
    heads = CHECKS if any(row.get("note") for row in ranked[:ROWS]) else CHECKS[:-1]
    shown = [[plain(name, row.get(name)) for name in heads] for row in ranked[:ROWS]]
    more = f"… and {len(rows) - ROWS} more in verify.csv" if len(rows) > ROWS else ""
    return Table(heads, shown, wide=("note",), more=more)


def plain(name: str, value: Any) -> str:
    """A cell of the evidence: numbers as people read them."""
    if name in ("step", "verdict"):
        return str(value)
    if name in ("quantity", "method", "note"):
        return of_cell(str(value or ""))
    try:
        return number(float(value), 6 if name in ("value", "reference") else 2)
    except (TypeError, ValueError):
        return str(value or "")


def claims(found: Sequence[Mapping[str, Any]]) -> Table:
    """What a study promised, and what the run shows."""
    rows = [
        (str(claim.get("text")), str(claim.get("found")), "holds" if claim.get("holds") else "does not hold")
        for claim in found
    ]
    return Table(("claim", "found", ""), rows, wide=("claim", "found"))


def commands(run: Run) -> Iterator[tuple[str, str]]:
    """What to type, and what for."""
    asked = (run.outcome.get("provenance") or {}).get("command")
    folder = str(run.folder)
    if asked:
        yield "The same run, shown again or gone on with", asked
    yield "Computed again elsewhere, and every number compared", command(["calclab", "rerun", folder])
    yield "Its curves", command(["tensorboard", "--logdir", folder])
    yield "In Python", f"run = calclab.load({folder!r}); run.scalars; run.verify"


def made(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """With what it was computed."""
    for name, value in (record.get("provenance") or {}).items():
        if name != "command" and value not in (None, {}, []):
            yield name.replace("_", " "), str(value)


def moment(text: str | None, form: str = "%-d %B %Y, %H:%M %Z") -> str:
    """A time as people write it, in the zone that it was noted in."""
    try:
        return datetime.fromisoformat(text or "").strftime(form)
    except ValueError:
        return ""
