"""A run as lines to read, from its record alone: the answer first, what it rests on, where the rest lies.

A record is what outcome.json holds (`outcome.outcome_dict`). No torch: a finished run is shown again without it. Old
records are read too: their answer is one sentence, whose clauses are its lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calclab.lines import Line, Said, of_plain
from calclab.report.numbers import number, seconds
from calclab.text import command

ROWS = 3  # of evidence that is not good, and of claims that do not hold
GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
KINDS = {"certified": GOOD, "consistent": GOOD, "refuted": BAD}  # of a verdict; all others are doubtful
STOPPED = ("failed", "interrupted")
Record = Mapping[str, Any]


def page(record: Record, folder: str = "") -> Iterator[Said]:
    """All that is said of a run that has ended. What speaks against the answer stands right under its headline."""
    headline, lines = answer(record)
    ending, proof = list(ended(record, goes_on=bool(folder))), list(evidence(record))
    refuted = (record.get("evidence") or {}).get("verdict") == "refuted"
    yield Line(record.get("title") or record["status"], "", kind="title")
    if headline:
        yield Line("answer", headline, kind="headline")
    if record["status"] in STOPPED:
        yield from ending
    if refuted:
        yield from proof
    yield from lines
    if record["status"] not in STOPPED:
        yield from ending
    if not refuted:
        yield from proof
    yield from claims(record)
    for note in record.get("notes", ()):
        yield Line("note", note, kind=DOUBTFUL)
    if folder:
        yield Line("folder", folder, kind="place")
        if "tensorboard" in (record.get("config") or {}).get("sinks", ("tensorboard",)):
            yield Line("see it", command(["tensorboard", "--logdir", folder]), kind="place")


def answer(record: Record) -> tuple[str, list[Said]]:
    """The headline, empty where there is no answer, and the lines and tables under it."""
    found = record.get("answer") or {}
    if "headline" in found:
        return found["headline"], [of_plain(entry) for entry in found["lines"]]
    first, *rest = clauses(found.get("sentence", ""))
    return first, [Line("", clause) for clause in rest]


def clauses(sentence: str) -> list[str]:
    """The parts of a sentence: what semicolons part outside of brackets."""
    parts, depth, first = [], 0, 0
    for i, mark in enumerate(sentence):
        depth += (mark in "([{") - (mark in ")]}")
        if mark == ";" and depth <= 0 and sentence[i + 1 : i + 2] == " ":
            parts.append(sentence[first:i])
            first = i + 2
    return [*parts, sentence[first:]]


def ended(record: Record, *, goes_on: bool) -> Iterator[Line]:
    """How the run ended, and where. ``goes_on``: the same command would go on from there."""
    status, steps, spent = record["status"], record.get("steps", -1), seconds(record.get("seconds") or 0.0)
    said = record.get("sentence") or status  # one that goes on has none
    kind = BAD if status in STOPPED else "" if status in ("completed", "converged") else DOUBTFUL
    if status == "interrupted":
        where = f"after step {steps} and {spent}" if steps >= 0 else f"before its first step, after {spent}"
        more = "; the same command goes on from there" if goes_on else ""
        yield Line("status", f"{said} {where}{more}", kind=kind)
    elif status == "completed" and steps == 0:
        yield Line("status", f"done in {spent}")
    else:
        yield Line("status", f"{said} (step {steps}, {spent})", kind=kind)
    if record.get("error"):
        yield Line("error", record["error"], kind=BAD)


def evidence(record: Record) -> Iterator[Line]:
    """The verdict, and the rows that are not good, worst first."""
    found = record.get("evidence") or {}
    if found.get("verdict") is None:
        return
    yield Line("evidence", found["sentence"], kind=KINDS.get(found["verdict"], DOUBTFUL))
    told = [of_row(row, single=not record.get("steps")) for row in found["rows"]]
    yield from [line for i, line in enumerate(told) if line not in told[:i]][:ROWS]


def of_row(row: Record, *, single: bool) -> Line:
    """A check that is not good. Of one that refutes all is told, of others their reason; a ``single`` step has no
    number."""
    where = "" if single else f" at step {row['step']}"
    value, reference, gap, allowed = (float(row[key]) for key in ("value", "reference", "gap", "tolerance"))
    kind, reason = KINDS.get(row["verdict"], DOUBTFUL), str(row["note"])
    if row["verdict"] == "undefined" and reason:
        return Line("", f"undefined{where}: {reason}", kind=kind)
    text = f"{row['quantity']}{where} is {number(value)}, {row['method']} says {number(reference)}"
    if kind != BAD:
        reason = reason.partition(";")[0]
        return Line("", f"{row['verdict']}: {text}{f'; {reason}' if reason else ''}", kind=kind)
    text += f" (gap {gap:.2g}, allowed {allowed:.2g})"
    return Line("", f"REFUTED: {text}{f'; {reason}' if reason else ''}", kind=kind)


def claims(record: Record) -> Iterator[Line]:
    """How many hold, and those that do not."""
    every: Sequence[Record] = record.get("claims") or ()
    lost = [claim for claim in every if not claim["holds"]]
    if every:
        yield Line("claims", f"{len(every) - len(lost)} of {len(every)} hold", kind=BAD if lost else GOOD)
    for claim in lost[:ROWS]:
        text = f"DOES NOT HOLD: {claim['text']}: expected {claim['expected']}, found {claim['found']}"
        yield Line("", text, kind=BAD)
