"""Numbers as people read them: six significant digits, no more; what is not finite is said in words of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from calclab.core import Evidence, Verdict

WORST = list(Verdict)  # from best to worst
GOOD = (Verdict.CERTIFIED, Verdict.CONSISTENT)
ENTRIES = 8  # of a vector or of one axis of a matrix, at most, in a sentence or a table


def number(value: float, digits: int = 6) -> str:
    """``3``, ``-33``, ``0.333333``, ``1.5e-09``, ``nan``, ``inf``."""
    if not math.isfinite(value):
        return str(float(value))
    if value == round(value) and abs(value) < 1e15:
        return str(round(value))
    return f"{value:.{digits}g}"


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


def seconds(value: float) -> str:
    """A duration: ``0.31 s``, ``42.0 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
