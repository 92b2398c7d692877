"""Runs beside each other: what is said of them, as sentences and tables, as a picture and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from calclab.archive import ranking
from calclab.archive.run import LOST, Run, part
from calclab.archive.sweep import Job
from calclab.difference.courses import LINES, courses
from calclab.difference.sides import Row, Sides, cell, ranked, ratio, same
from calclab.errors import UserError
from calclab.lines import Table
from calclab.text import printable

if TYPE_CHECKING:
    from calclab.figure.records import CurvesPanel

BESIDE = 5  # runs that have a column each; more have a row each
ROWS = 24  # of a table of configuration or outcome
NAMED = 4  # knobs that a sentence names
DIGITS = 6  # of a digest, in a table


class Compared:
    """Runs and what is said of them; ``asked`` are the names of curves. Many are taken in the order of their ranking:
    then the first letters are the best."""

    def __init__(self, runs: Sequence[Run], asked: Sequence[str] = ()) -> None:
        sides = Sides(runs)
        self.many = len(runs) > BESIDE
        self.sides = ranked(sides) if self.many else sides
        self.drawn = range(min(len(runs), LINES))
        self.panels: list[CurvesPanel] = courses(self.sides, asked, self.drawn)

    # --- sentences

    @property
    def subject(self) -> str:
        titles = dict.fromkeys(str(run.outcome.get("title") or run.topic) for run in self.sides.runs)
        return ", ".join(list(titles)[:3]) + (", ..." if len(titles) > 3 else "")

    def sentences(self) -> Iterator[str]:
        """In what the runs differ, and which ends best."""
        sides = self.sides
        knobs = [name for name, _ in sides.configuration]
        more = f" and {len(knobs) - NAMED} more" if len(knobs) > NAMED else ""
        count = len(sides.runs)
        if knobs:
            yield f"{count} runs, which differ in {', '.join(knobs[:NAMED])}{more}; {same(sides)} knobs are the same"
        else:
            made = ", ".join(name for name, _ in sides.setting)
            yield f"{count} runs of one configuration" + (f", made with another {made}" if made else "")
        sweep = sides.sweep
        ends = [job for job in sweep.ranked if job.done]
        if not sweep.comparable:
            yield "their answers are of different kinds, and are not ranked"
        elif len(sweep.parts) > 1:
            yield from (f"{heading}: {text}" for heading, text in ranking.sentences(sweep))
        elif not ends:
            yield "none of them came to a result"
        else:
            yield self.first(ends) + (f"; {sides.lost} diverged" if sides.lost else "")

    def first(self, ends: Sequence[Job]) -> str:
        """Which run ends first, and how far the next is."""
        sweep, letters = self.sides.sweep, self.sides.letters
        best, measure = ends[0], ranking.measured(sweep)
        extreme = "highest" if sweep.direction == "maximize" else "lowest"
        if len(ends) > 1 and ends[1].objective == best.objective:
            return (
                f"{letters[best.number]} and {letters[ends[1].number]} end at the same {measure} {best.objective:.6g}"
            )
        text = f"{letters[best.number]} ends {extreme}, at {measure} {best.objective:.6g}"
        return text + (f"; then {letters[ends[1].number]}, at {ends[1].objective:.6g}" if len(ends) > 1 else "")

    # --- tables

    def beside(self, rows: Sequence[Row], label: str) -> Table:
        """A row a knob or a number, a column a run; of two numbers, how many times the first the second is."""
        two = len(self.sides.runs) == 2 and label == "outcome"
        head = ["", *self.sides.letters, *(["B / A"] if two else [])]
        made = [[printable(name), *map(cell, values), *([ratio(values)] if two else [])] for name, values in rows]
        return Table(label, head, made)

    def ranking(self) -> ranking.Table:
        """A row a run, the best first, as a sweep has them; those without a curve are called by their digests."""
        made = ranking.table(self.sides.sweep)
        rows = [
            ranking.Row((self.called(int(row.cells[0])), *row.cells[1:]), row.status) if row.cells else row
            for row in made.rows
        ]
        return ranking.Table(("run", *made.head[1:]), tuple(rows))

    def called(self, number: int) -> str:
        return self.sides.letters[number] if number in self.drawn else (self.sides.runs[number].digest or "")[:DIGITS]

    def tables(self) -> Iterator[Table]:
        sides = self.sides
        if sides.configuration:
            yield self.beside(sides.configuration[:ROWS], "differ in")
        if sides.setting:
            yield self.beside(sides.setting, "made with")
        yield self.beside(sides.outcome[:ROWS], "outcome")

    def named(self) -> list[tuple[str, str, Run]]:
        """The runs that a list has room for, with letter and name."""
        sides = self.sides
        return [(sides.letters[i], sides.names[i], sides.runs[i]) for i in self.drawn]

    # --- as files

    def picture(self, format: str) -> bytes:
        """The curves; UserError where no two runs have any in common."""
        if not self.panels:
            raise UserError("these runs have no curves in common: there is nothing to draw. Leave the picture out")
        from calclab.figure.draw.canvas import png, vector
        from calclab.figure.draw.stacked import draw_stacked

        names = {letter: f"{letter}: {name}" if name else letter for letter, name, _ in self.named()}
        away = [letter for letter, _, run in self.named() if run.status in LOST]
        note = f"diverged, drawn as far as they are near the others: {', '.join(away)}" if away else ""
        figure = draw_stacked(f"{self.subject}: {len(self.sides.runs)} runs", names, self.panels, note)
        return png(figure) if format == "png" else vector(figure, format)

    def page(self) -> str:
        """All of it as one page."""
        from calclab.report.html.document import Figure, data, document
        from calclab.report.html.document import Table as Held

        sides = self.sides
        if not self.many:
            tables = [(made.label.capitalize(), Held(made.head, made.rows)) for made in self.tables()]
        else:
            made = self.ranking()
            cells = [row.cells for row in made.rows if row.cells]
            tables = [("Runs", Held(made.head, cells, more="; ".join(row.words for row in made.rows if row.words)))]
        names = [(letter, name, run.digest or "", str(run.folder)) for letter, name, run in self.named()]
        tables.insert(0, ("Which is which", Held(("run", "differs in", "digest", "folder"), names, wide=("folder",))))
        caption = f"{', '.join(panel.title for panel in self.panels)} of the runs over each other."
        reading = "A run that diverges leaves the picture at a hundred times the start of the others."
        source = data(self.picture("png"), "png") if self.panels else ""
        commands = [
            (f"{letter}: {name}", str(part(run.outcome, "provenance").get("command") or ""))
            for letter, name, run in self.named()
        ]
        return document(
            "difference",
            title=f"{len(sides.runs)} runs compared",
            subject=self.subject,
            sentences=[f"{text[:1].upper()}{text[1:]}." for text in self.sentences()],
            tables=tables,
            pictures=[Figure("curves", caption, reading, source, width=672)] if source else [],
            commands=[(name, line) for name, line in commands if line],
        )
