"""outcome.json: how a run ended, strict JSON.

JSON knows no NaN and no infinity: they are the strings "nan", "inf" and "-inf", which `float` reads. Tensors are nested
lists; one of more than 1,000 entries is only ``{"shape": [...]}``, since the CSV of its name holds it in full.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from calclab.core import Evidence, Outcome, Run
from calclab.report.numbers import bad, counts, verdict_sentence, worst

RECORD = "outcome.json"
WORDS = (str, int, bool, type(None))  # what stands as it is
ENTRIES = 1000
ROWS = 100  # of evidence that is neither certified nor consistent; verify.csv has them all


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
        "answer": None if answer is None else {"sentence": answer.sentence, "values": plain(answer.values)},
        "last": plain(outcome.last),
        "evidence": {
            "verdict": None if verdict is None else verdict.word,
            "sentence": verdict_sentence(outcome.evidence),
            "checks": len(outcome.evidence),
            "counts": counts(outcome.evidence),
            "rows": [evidence_dict(row) for row in bad(outcome.evidence, ROWS)],
        },
        "claims": [dataclasses.asdict(claim) for claim in outcome.claims],
        "notes": list(outcome.notes),
        "error": outcome.error or None,
        "provenance": plain(outcome.provenance),
    }


def evidence_dict(row: Evidence) -> dict[str, Any]:
    fields = {entry.name: getattr(row, entry.name) for entry in dataclasses.fields(row)}
    return {**plain(fields), "verdict": row.verdict.word}


def plain(value: Any) -> Any:
    """What strict JSON can hold: see the module's docstring."""
    if type(value) in WORDS:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Tensor):
        return plain(entries(value)) if value.numel() <= ENTRIES else {"shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value if isinstance(value, int | str) else str(value)


def entries(value: Tensor) -> Any:
    """Nested lists; float32 as the shortest decimal that is the same float32, as in the CSVs."""
    value = value.detach().cpu()
    if value.dtype is not torch.float32:
        return value.tolist()
    return float(str(value.numpy()[()])) if value.ndim == 0 else [entries(row) for row in value]


def write_record(folder: Path, record: Mapping[str, Any], seal: Callable[[bytes], bytes] = lambda text: text) -> Path:
    """Write outcome.json into ``folder``, with a ``seal``; a reader sees the whole file or none."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return replace_file(folder / RECORD, seal(orjson.dumps(record, option=options)).decode())


def replace_file(path: Path, text: str) -> Path:
    """Write ``text`` beside ``path`` and move it there in one step; whoever writes holds the run."""
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
