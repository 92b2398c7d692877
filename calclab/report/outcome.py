"""How a run ended, as plain data for outcome.json; its numbers and verdicts in words.

JSON knows no NaN and no infinity: they are the strings "nan", "inf" and "-inf", which `float` reads. Tensors are nested
lists; one of more than 1,000 entries is only ``{"shape": [...]}``, since the CSV of its name holds it in full.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from calclab.core import HISTOGRAM, Answer, Evidence, Outcome, Picture, Run, Verdict
from calclab.report.numbers import number

WORDS = (str, int, bool, type(None))  # what stands as it is in JSON
HELD = 1000  # entries of a tensor, at most, in outcome.json
KEPT = 100  # rows there of evidence that is neither certified nor consistent; verify.csv has them all
FORMULAS = 20  # of an answer, at most, in outcome.json and in the summary
ENTRIES = 8  # of a vector or of one axis of a matrix, at most, in a sentence or a table
WORST = list(Verdict)  # from best to worst
GOOD = (Verdict.CERTIFIED, Verdict.CONSISTENT)


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
        "answer": None if answer is None else answer_dict(answer),
        "last": json_value({name: v for name, v in outcome.last.items() if not name.startswith(HISTOGRAM)}),
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
    """What a picture is made of, but for the functions that it may ask: what the page of a run tells of it."""
    parts = {entry.name: getattr(picture, entry.name) for entry in dataclasses.fields(cast(Any, picture))}
    kept = {n: plain_part(part) for n, part in parts.items() if n not in ("function", "record") and not callable(part)}
    return {"kind": type(picture).__name__, **kept}


def plain_part(value: Any) -> Any:
    """A part of a picture's definition, of tuples, words, numbers and small records of such."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_value(dataclasses.asdict(value))
    return [plain_part(entry) for entry in value] if isinstance(value, tuple) else json_value(value)


def answer_dict(answer: Answer) -> dict[str, Any]:
    lines = [line.plain() for line in answer.lines]
    return {"headline": answer.headline, "lines": lines, "values": json_value(answer.values)}


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


# --- numbers and verdicts in words ---


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
