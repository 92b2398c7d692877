"""A result as text for a terminal, and as HTML for a notebook, readable on a light page and on a dark one."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from torch import Tensor

from calclab.core import Evidence, Outcome, Run, Verdict
from calclab.library.bounds import EXACT, ITSELF, UNKNOWN, Bound
from calclab.lines import Line, Said, Table
from calclab.report import page as report
from calclab.report.numbers import number
from calclab.report.outcome import outcome_dict, quantity, worst
from calclab.terminal import plain

MOST = 40  # rows of a table in a notebook
COLOURS = {  # of a verdict's badge, under white
    Verdict.CERTIFIED: "#1a7f37",
    Verdict.CONSISTENT: "#1a7f37",
    Verdict.INCONCLUSIVE: "#8a6100",
    Verdict.UNDEFINED: "#8a6100",
    Verdict.SUSPECT: "#8a6100",
    Verdict.REFUTED: "#c62828",
}
CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"
RULE = "border-top:1px solid rgba(128,128,128,.35)"
HEADS = ("number", "value", "±", "how that is known")
CHECK = ("step", "quantity", "method", "value", "reference", "gap", "tolerance", "verdict", "note")
WIDE = ("value", "note")  # columns whose content may be broken into lines
Row = tuple[str, str, str, str]  # name, value, bound, how that is known


def rows(outcome: Outcome, bounds: dict[str, Bound]) -> list[Row]:
    """The answer's numbers and words, but for those that are the bound of another."""
    values = {} if outcome.answer is None else outcome.answer.values
    return [
        (name, quantity(value), *said(bounds.get(name)))
        for name, value in values.items()
        if name in bounds or not isinstance(value, Tensor)
    ]


def said(bound: Bound | None) -> tuple[str, str]:
    """A bound in two words: of a vector the largest, nothing of a word or a count."""
    if bound is None or bound.by == EXACT:
        return "", ""
    if bound.by == ITSELF:
        return "", ITSELF
    size = float(bound.size.max()) if isinstance(bound.size, Tensor) and bound.size.numel() else bound.size
    size = 0.0 if isinstance(size, Tensor) else size
    return (number(size, 2) if isfinite(size) else ""), bound.by


def text(run: Run, outcome: Outcome, bounds: dict[str, Bound]) -> str:
    """The lines of a terminal, with a bound beside each number."""
    return "\n".join(plain(shown(run, outcome, bounds)))


def shown(run: Run, outcome: Outcome, bounds: dict[str, Bound]) -> list[Said]:
    """What is said of the run, the title first; at the numbers told, how far each can be from the truth."""
    found: list[Said] = []
    unknown: list[str] = []
    for entry in report.page(outcome_dict(run, outcome)):
        if isinstance(entry, Line) and (bound := bounds.get(entry.of)) is not None:
            unknown += [entry.label] if bound.by == UNKNOWN else []
            entry = replace(entry, text=f"{entry.text}{beside(*said(bound))}")
        elif unknown and entry.label in ("status", "evidence"):
            found.append(Line("", f"no bound is known of {', '.join(unknown)}"))
            unknown = []
        found.append(entry)
    return found


def beside(size: str, by: str) -> str:
    """What stands after a number."""
    return f" ± {size} ({by})" if size else ""


def page(run: Run, outcome: Outcome, bounds: dict[str, Bound], pictures: str) -> str:
    """Title, headline, lines and tables, numbers with their bounds, evidence and pictures."""
    title, *rest = shown(run, outcome, bounds)
    parts = [f"<div style='font-weight:600;font-size:1.15em;margin-bottom:4px'>{html.escape(title.label)}</div>"]
    proof: list[str] = []
    label = ""
    for entry in rest:
        label = entry.label or label
        if isinstance(entry, Line) and label == "evidence":
            proof.append(entry.text)
        else:
            parts.append(block(entry))
    if proof:
        parts.append(evidence(outcome.evidence, proof))
    if numbers := rows(outcome, bounds):
        every = table(HEADS, numbers[:MOST])
        if len(numbers) > MOST:
            every += f"<div>… and {len(numbers) - MOST} more in <code>.numbers</code></div>"
        parts.append(f"<details style='margin:6px 0'><summary>numbers</summary>{every}</details>")
    if pictures:
        parts.append(f"<div style='display:flex;flex-wrap:wrap;align-items:flex-start;margin-top:8px'>{pictures}</div>")
    return f"<div style='line-height:1.45;max-width:1100px'>{''.join(parts)}</div>"


def block(entry: Said) -> str:
    """A line or a table of what is said."""
    if isinstance(entry, Table):
        return f"<div><i>{html.escape(entry.label)}</i>{table(entry.head, entry.rows)}</div>"
    if entry.kind == "headline":
        return f"<div style='font-weight:600'>{html.escape(entry.text)}</div>"
    label = f"<i>{html.escape(entry.label)}</i>&ensp;" if entry.label else ""
    return f"<div>{label}{html.escape(entry.text)}</div>"


def evidence(checks: Sequence[Evidence], lines: Sequence[str]) -> str:
    """The verdict, and every check on a click."""
    verdict = worst(checks)
    if verdict is None:
        return ""
    style = f"background:{COLOURS[verdict]};color:#fff;border-radius:3px;padding:1px 7px;margin-right:6px"
    summary = f"<span style='{style}'>{verdict.word}</span>{html.escape(lines[0] if lines else '')}"
    worse = "".join(f"<div>{html.escape(line)}</div>" for line in lines[1:])
    cells = [
        (str(r.step), r.quantity, r.method, number(r.value), number(r.reference), f"{r.gap:.2g}", f"{r.tolerance:.2g}",
         r.verdict.word, r.note)
        for r in checks[:MOST]
    ]  # fmt: skip
    rest = "" if len(checks) <= MOST else f"<div>… and {len(checks) - MOST} more in <code>.evidence</code></div>"
    opened = f"<div style='overflow-x:auto'>{table(CHECK, cells)}{rest}</div>"
    return f"<details style='margin:6px 0'><summary>{summary}</summary>{opened}</details>{worse}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table in the colours of the page."""
    head = "".join(f"<th style='{CELL};font-weight:500;opacity:.75'>{html.escape(name)}</th>" for name in heads)
    wide = {heads.index(name) for name in WIDE if name in heads}
    body = "".join(
        f"<tr style='{RULE};background:none'>{''.join(cell(c, i in wide) for i, c in enumerate(row))}</tr>"
        for row in rows
    )
    style = "border-collapse:collapse;margin:6px 0;font-variant-numeric:tabular-nums;font-size:.95em"
    return f"<table style='{style}'><thead><tr style='background:none'>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(content: str, wide: bool) -> str:
    """Of the narrow columns none is broken into two lines."""
    wrap = "overflow-wrap:anywhere" if wide else "white-space:nowrap"
    return f"<td style='{CELL};{wrap}'>{html.escape(content)}</td>"
