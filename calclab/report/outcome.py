"""How a run ended: as plain data for outcome.json, and in lines for a terminal.

JSON knows no NaN and no infinity: they are the strings "nan", "inf" and "-inf", which `float` reads. Tensors are nested
lists; one of more than 1,000 entries is only ``{"shape": [...]}``, since the CSV of its name holds it in full.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from calclab.core import Evidence, Outcome, Picture, Run, Status, Verdict
from calclab.report.numbers import number, seconds
from calclab.text import command

WORDS = (str, int, bool, type(None))  # what stands as it is in JSON
HELD = 1000  # entries of a tensor, at most, in outcome.json
KEPT = 100  # rows there of evidence that is neither certified nor consistent; verify.csv has them all
FORMULAS = 20  # of an answer, at most, in outcome.json and in the summary
NUMBERS, ROWS = 5, 3  # in lines for a terminal
ENTRIES = 8  # of a vector or of one axis of a matrix, at most, in a sentence or a table
WORST = list(Verdict)  # from best to worst
GOOD = (Verdict.CERTIFIED, Verdict.CONSISTENT)
COLOURS = {
    Verdict.CERTIFIED: "green",
    Verdict.CONSISTENT: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.UNDEFINED: "yellow",
    Verdict.SUSPECT: "yellow",
    Verdict.REFUTED: "bold red",
}
Line = tuple[str, str, str]  # heading, text, style


def outcome_dict(run: Run, outcome: Outcome) -> dict[str, Any]:
    """The content of outcome.json."""
    verdict = worst(outcome.evidence)
    answer = outcome.answer
    return {
        "topic": run.topic,
        "subject": run.subject,
        "title": run.title,
        "status": outcome.status.word,
        "sentence": outcome.status.value,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "answer": None if answer is None else {"sentence": answer.sentence, "values": json_value(answer.values)},
        "last": json_value(outcome.last),
        "evidence": {
            "verdict": None if verdict is None else verdict.word,
            "sentence": verdict_sentence(outcome.evidence),
            "checks": len(outcome.evidence),
            "counts": counts(outcome.evidence),
            "rows": [evidence_dict(row) for row in bad(outcome.evidence, KEPT)],
        },
        "claims": [dataclasses.asdict(claim) for claim in outcome.claims],
        "notes": list(outcome.notes),
        "error": outcome.error or None,
        "provenance": json_value(outcome.provenance),
        "latex": [*run.latex, *(() if answer is None else answer.latex[:FORMULAS])],
        "pictures": [picture_dict(picture) for picture in run.pictures] if run.config.get("figures") else [],
    }


def picture_dict(picture: Picture) -> dict[str, Any]:
    """What a picture is made of, but for the function that it may ask: what the page of a run tells of it."""
    parts = {entry.name: getattr(picture, entry.name) for entry in dataclasses.fields(cast(Any, picture))}
    kept = {name: plain_part(value) for name, value in parts.items() if name not in ("function", "record")}
    return {"kind": type(picture).__name__, **kept}


def plain_part(value: Any) -> Any:
    """A part of a picture's definition, of tuples, words, numbers and small records of such."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_value(dataclasses.asdict(value))
    return [plain_part(entry) for entry in value] if isinstance(value, tuple) else json_value(value)


def evidence_dict(row: Evidence) -> dict[str, Any]:
    fields = {entry.name: getattr(row, entry.name) for entry in dataclasses.fields(row)}
    return {**json_value(fields), "verdict": row.verdict.word}


def json_value(value: Any) -> Any:
    """What strict JSON can hold: see the module's docstring."""
    if type(value) in WORDS:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Tensor):
        return json_value(entries(value)) if value.numel() <= HELD else {"shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    return value if isinstance(value, int | str) else str(value)


def entries(value: Tensor) -> Any:
    """Nested lists; float32 as the shortest decimal that is the same float32, as in the CSVs."""
    value = value.detach().cpu()
    if value.dtype is not torch.float32:
        return value.tolist()
    return float(str(value.numpy()[()])) if value.ndim == 0 else [entries(row) for row in value]


# --- lines ---


def lines(run: Run, outcome: Outcome) -> Iterator[Line]:
    """The end of a run for a terminal, at most 15 lines or so: the answer, its numbers, the evidence, where the rest
    lies. The heading of a line that goes on is empty."""
    yield run.title, "", "bold"
    if outcome.answer is not None:
        for i, clause in enumerate(clauses(outcome.answer.sentence)):
            yield ("", clause, "") if i else ("answer", clause, "bold")
        shown = [(name, value) for name, value in outcome.answer.values.items() if simple(quantity(value))]
        for i, (name, value) in enumerate(shown[:NUMBERS]):
            yield "numbers" if i == 0 else "", f"{name} = {quantity(value)}", ""
    failed = outcome.status in (Status.FAILED, Status.INTERRUPTED)
    style = "bold red" if failed else "" if outcome.status in (Status.COMPLETED, Status.CONVERGED) else "yellow"
    yield "status", ended(run, outcome), style
    if outcome.error:
        yield "error", outcome.error, "bold red"
    verdict = worst(outcome.evidence)
    if verdict is not None:
        yield "evidence", verdict_sentence(outcome.evidence), COLOURS[verdict]
        for row in bad(outcome.evidence, ROWS):
            word = "REFUTED" if row.verdict is Verdict.REFUTED else row.verdict.word
            text = f"{word}: {row.quantity} at step {row.step} is {number(row.value)}, {row.method} says "
            text += f"{number(row.reference)} (gap {row.gap:.2g}, allowed {row.tolerance:.2g})"
            yield "", f"{text}{f'; {row.note}' if row.note else ''}", COLOURS[row.verdict]
    kept = [claim for claim in outcome.claims if claim.holds]
    if outcome.claims:
        style = "green" if len(kept) == len(outcome.claims) else "bold red"
        yield "claims", f"{len(kept)} of {len(outcome.claims)} hold", style
    for claim in [claim for claim in outcome.claims if not claim.holds][:ROWS]:
        yield "", f"DOES NOT HOLD: {claim.text}: expected {claim.expected}, found {claim.found}", "bold red"
    for note in outcome.notes:
        yield "note", note, "yellow"
    yield "folder", str(run.folder), ""
    yield "see it", command(["tensorboard", "--logdir", str(run.folder)]), "dim"


def ended(run: Run, outcome: Outcome) -> str:
    """How it ended, and where."""
    spent = seconds(outcome.seconds)
    if outcome.status is not Status.INTERRUPTED:
        return f"{outcome.status.value} (step {outcome.steps}, {spent})"
    where = f"after step {outcome.steps} and {spent}" if outcome.steps >= 0 else f"before its first step, after {spent}"
    more = "; the same command goes on from there" if run.folder.name else ""
    return f"{outcome.status.value} {where}{more}"


def clauses(sentence: str) -> list[str]:
    """The parts of an answer: what semicolons part outside of brackets."""
    parts, depth, first = [], 0, 0
    for i, mark in enumerate(sentence):
        depth += (mark in "([{") - (mark in ")]}")
        if mark == ";" and depth <= 0 and sentence[i + 1 : i + 2] == " ":
            parts.append(sentence[first:i])
            first = i + 2
    return [*parts, sentence[first:]]


def simple(text: str) -> bool:
    """Short enough for a line; the rest is in summary.md and the CSVs."""
    return len(text) <= 90


# --- numbers: a vector or matrix in a line ---


def quantity(value: Tensor | str) -> str:
    """A number, vector or matrix in one line; a large one by its shape and range."""
    if isinstance(value, str):
        return value
    if value.ndim == 0:
        return str(value.item()) if value.dtype.is_complex or value.dtype.is_signed is False else number(value.item())
    shape = " × ".join(map(str, value.shape))
    if value.numel() == 0:
        return f"empty ({shape})"
    if value.ndim > 2 or max(value.shape) > ENTRIES:
        entries = value.double()
        return f"{shape} entries from {number(entries.min().item())} to {number(entries.max().item())}"
    return nested(value.tolist())


def nested(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(nested, value))}]"
    return number(value) if isinstance(value, float) else str(value)


def worst(rows: Sequence[Evidence]) -> Verdict | None:
    """The worst verdict; None without evidence."""
    return max((row.verdict for row in rows), key=WORST.index, default=None)


def counts(rows: Sequence[Evidence]) -> dict[str, int]:
    """How many rows have each verdict, from best to worst; verdicts that no row has are left out."""
    found = Counter(row.verdict for row in rows)
    return {verdict.word: found[verdict] for verdict in WORST if found[verdict]}


def verdict_sentence(rows: Sequence[Evidence]) -> str:
    """``all 12 checks certified``, ``20 checks: 18 certified, 2 suspect``; REFUTED in capitals."""
    if not rows:
        return "nothing was checked"
    found = counts(rows)
    words = [f"{count} {'REFUTED' if word == Verdict.REFUTED.word else word}" for word, count in found.items()]
    if len(found) > 1:
        return f"{len(rows)} checks: {', '.join(words)}"
    return f"1 check: {words[0].split()[1]}" if len(rows) == 1 else f"all {words[0].replace(' ', ' checks ')}"


def bad(rows: Sequence[Evidence], limit: int) -> list[Evidence]:
    """The rows that are neither certified nor consistent, worst first."""
    return sorted((r for r in rows if r.verdict not in GOOD), key=lambda r: -WORST.index(r.verdict))[:limit]
