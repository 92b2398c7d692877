"""The summary of a run in Markdown: for TensorBoard's text tab and as summary.md, with the sink that puts it there.

TensorBoard shows Markdown without mathematics, so a formula stands here as it was typed (or as LaTeX code); the typeset
one is the picture ``formula``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from calclab.archive.folder import replace_file
from calclab.core import Columns, Evidence, Outcome, Run, Verdict
from calclab.lines import Line, Said, Table
from calclab.report.markdown import code, escape, table
from calclab.report.numbers import number, seconds
from calclab.report.outcome import FORMULAS, bad, quantity, verdict_sentence, worst

ROWS = 20
PROVENANCE = ("device", "dtype", "seed", "git_commit", "calclab", "torch", "python", "host", "started")


def markdown(run: Run, outcome: Outcome) -> str:
    """Title, answer, formula, closed forms, numbers, evidence, claims, how it ended, and how to run it again."""
    parts = [f"# {escape(run.title)}"]
    if outcome.answer is not None:
        parts += [f"**{escape(outcome.answer.headline)}**", *said(outcome.answer.lines)]
    if outcome.error:
        parts.append(f"**Failed:** {code(outcome.error)}")
    shown = () if outcome.answer is None else outcome.answer.latex[:FORMULAS]
    parts += [code(text) for text in (*formulas(run), *shown)]
    values: Mapping[str, Any] = outcome.last if outcome.answer is None else outcome.answer.values
    if values:
        parts += ["## Numbers", table(("name", "value"), ((code(k), escape(quantity(v))) for k, v in values.items()))]
    parts += ["## Evidence", *evidence(outcome.evidence)]
    if outcome.claims:
        rows = [(c.text, c.expected, c.found, "holds" if c.holds else "**DOES NOT HOLD**") for c in outcome.claims]
        parts += ["## Claims", table(("claim", "expected", "found", ""), [(*map(escape, r[:3]), r[3]) for r in rows])]
    ended = f"The run {outcome.status.value}, after step {outcome.steps} and {seconds(outcome.seconds)}."
    parts += ["## Run", ended, *(f"- {escape(note)}" for note in outcome.notes)]
    if "command" in outcome.provenance:
        parts.append(f"Run it again:\n\n    {outcome.provenance['command']}")
    made = [(name, str(outcome.provenance[name])) for name in PROVENANCE if outcome.provenance.get(name) is not None]
    if made:
        parts.append(table(("made with", ""), ((name, escape(value)) for name, value in made)))
    return "\n\n".join(parts) + "\n"


def said(lines: Sequence[Said]) -> list[str]:
    """The lines of an answer as a table of two columns, its tables below."""
    rows = [(escape(line.label), escape(line.text)) for line in lines if isinstance(line, Line)]
    parts = [table(("", ""), rows)] if rows else []
    for found in lines:
        if isinstance(found, Table):
            cells = [tuple(map(escape, row)) for row in found.rows]
            parts += [f"**{escape(found.label)}**", table(tuple(map(escape, found.head)), cells)]
    return parts


def formulas(run: Run) -> list[str]:
    """The formula as it was typed, or else as LaTeX code; empty for a network or a callable."""
    function = (
        None if run.config.get("network") else run.config.get("function")
    )  # a topic's default stays there, unused
    typed = function.get("expr") if isinstance(function, Mapping) else None
    if isinstance(typed, str):
        return [typed]
    if isinstance(typed, Sequence) and typed:
        return [f"[{', '.join(map(str, typed))}]"]
    return list(run.latex)


def evidence(rows: Sequence[Evidence]) -> list[str]:
    """The verdict, and the rows that are not good, worst first; what is refuted is said first and loudly."""
    verdict = worst(rows)
    if verdict is None:
        return ["Nothing was checked."]
    sentence = verdict_sentence(rows)
    loud = f"**REFUTED.** {sentence}" if verdict is Verdict.REFUTED else sentence[0].upper() + sentence[1:]
    parts = [f"{loud}. Overall: {verdict.value}."]
    found = bad(rows, ROWS)
    if found:
        head = ("step", "quantity", "method", "value", "reference", "gap", "tolerance", "verdict", "note")
        cells = (
            (str(r.step), r.quantity, r.method, *map(number, (r.value, r.reference)), f"{r.gap:.2g}",
             f"{r.tolerance:.2g}", r.verdict.word, r.note)
            for r in found
        )  # fmt: skip
        parts.append(table(head, (tuple(map(escape, row)) for row in cells)))
    return parts


class Board(Protocol):
    """Shows text too, such as `TensorBoardSink`."""

    def text(self, tag: str, markdown: str) -> None: ...


class SummarySink:
    """Writes when it is closed, which is before its ``board`` is; a run that could not begin has a summary too."""

    def __init__(self, run: Run, board: Board | None = None) -> None:
        self._run, self._board = run, board

    def open(self, run: Run) -> None:
        """Nothing to say yet."""

    def write(self, columns: Columns) -> None:
        """What was logged last is in the outcome."""

    def evidence(self, rows: Sequence[Evidence]) -> None:
        """In the outcome."""

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, outcome: Outcome) -> None:
        text = markdown(self._run, outcome)
        if self._board is not None:
            self._board.text("summary", text)
        replace_file(self._run.folder / "summary.md", text)
