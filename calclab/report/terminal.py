"""The end of a run in words: the answer, its numbers, the evidence, where the rest lies. At most 15 lines or so."""

from __future__ import annotations

from collections.abc import Iterator

from calclab.core import Outcome, Run, Status, Verdict
from calclab.report.numbers import bad, number, quantity, seconds, verdict_sentence, worst
from calclab.text import command

NUMBERS, ROWS = 5, 3
COLOURS = {
    Verdict.CERTIFIED: "green",
    Verdict.CONSISTENT: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.UNDEFINED: "yellow",
    Verdict.SUSPECT: "yellow",
    Verdict.REFUTED: "bold red",
}
Line = tuple[str, str, str]  # heading, text, style


def lines(run: Run, outcome: Outcome) -> Iterator[Line]:
    """What to say, in order; the heading of a line that goes on is empty."""
    yield run.title, "", "bold"
    if outcome.answer is not None:
        for i, clause in enumerate(clauses(outcome.answer.sentence)):
            yield ("", clause, "") if i else ("answer", clause, "bold")
        shown = [(name, value) for name, value in outcome.answer.values.items() if simple(quantity(value))]
        for i, (name, value) in enumerate(shown[:NUMBERS]):
            yield "numbers" if i == 0 else "", f"{name} = {quantity(value)}", ""
    failed = outcome.status in (Status.FAILED, Status.INTERRUPTED)
    style = "bold red" if failed else "" if outcome.status in (Status.COMPLETED, Status.CONVERGED) else "yellow"
    yield "status", f"{outcome.status.value} (step {outcome.steps}, {seconds(outcome.seconds)})", style
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
