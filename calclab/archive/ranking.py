"""A sweep's jobs as people read them: the best in a sentence, and a table of what was swept, sorted by objective.

A short table has every job. Of a long one the first and the last results are shown, and the rest is counted; so are the
jobs that ran away, with the knobs at which they did.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from calclab.archive.sweep import REPEATS, Job, Setting, Sweep, Value
from calclab.text import printable, shortened

EVERY = 30  # jobs of a table that has them all
TOP, BOTTOM = 12, 4  # results of a longer one
QUESTIONS = 6  # of which the best job is told
ERRORS = 5  # different errors that are told
DIGITS = (6, 9, 12, 17)
LEAST = 8  # characters to which a cell is clipped
GAP = 2


@dataclass(frozen=True)
class Row:
    """The cells of a job; or, where there are none, words about jobs that are not shown. ``status`` is the job's."""

    cells: tuple[str, ...]
    status: str
    words: str = ""


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[Row, ...]

    def lines(self, width: int) -> list[tuple[str, str]]:
        """Aligned text that fits ``width`` columns as long as it can be clipped, each line with its row's status."""
        cells = fitted([self.head, *(row.cells for row in self.rows if row.cells)], width)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        texts = iter((" " * GAP).join(map(str.ljust, line, widths)).rstrip() for line in cells)
        head = (next(texts), "")
        return [head, *((next(texts) if row.cells else shortened(row.words, width), row.status) for row in self.rows)]


def headline(sweep: Sweep) -> str:
    """What a sweep came to, in a line."""
    return next((text for _, text in sentences(sweep)), f"{len(sweep.jobs)} jobs")


def sentences(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The first in the ranking of every question, each with a heading: best where the objective is to be reached."""
    parts = [part for part in sweep.parts if len(part.settings) > 1 or (part is sweep and part.judged and part.best)]
    for part in parts[:QUESTIONS]:
        setting, count = part.settings[0], len(part.settings)
        names = [name for name in sweep.swept if name != REPEATS or len(setting.jobs) == 1]
        values = {name: column(sweep, name)[setting.middle] for name in names}
        knobs = " ".join(f"{name}={value}" for name, value in values.items() if value)
        extreme = "highest" if part.direction == "maximize" else "lowest"
        what, among = f"{measured(part)} {setting.median:.6g}", "the only result"
        if len(setting.jobs) > 1:
            number, _, within = spread(setting).partition(": ")
            what = f"median {what} of {number} seeds ({within})"
        if count > 1:
            among = f"the {extreme} of {count} {'settings' if REPEATS in sweep.swept else 'results'}"
        yield ("best" if part.judged else extreme), printable(f"{knobs}{': ' * bool(knobs)}{what}, {among}")
    if any(job.lost for job in sweep.jobs) and not any(job.done for job in sweep.jobs):
        yield "", printable(no_result(sweep))
    if told := claims(sweep):
        yield "claims", printable(told)
    if len(parts) > QUESTIONS:
        yield "", f"... and the first of {len(parts) - QUESTIONS} other questions in the table"


def claims(sweep: Sweep) -> str:
    """How often the claims of a study held, and the one that held least often; empty of jobs without any."""
    every = [found for run in sweep.runs.values() if isinstance(found := run.outcome.get("claims"), list) and found]
    if not every:
        return ""
    whole = sum(all(claim.get("holds") for claim in found) for found in every)
    text = f"{'the claim holds' if len(every[0]) == 1 else 'all claims hold'} in {whole} of {len(every)} jobs"
    counts = [sum(bool(claim.get("holds")) for claim in same) for same in zip(*every, strict=False)]
    least = counts.index(min(counts))
    if len(counts) == 1 or counts[least] == len(every):
        return text
    return f"{text}; least often, in {counts[least]}: {every[0][least].get('text')}"


def no_result(sweep: Sweep) -> str:
    """What became of jobs none of which has an objective, and what theory says of the learning rate."""
    ends = Counter("diverged" if job.lost else job.status for job in sweep.jobs)
    text = f"no job came to a result: {', '.join(f'{count} {word}' for word, count in ends.most_common())}"
    known = [limit for limit in sweep.limits if limit is not None]
    if not known or not ends["diverged"]:
        return text
    return f"{text}. The largest stable lr at the start is {extent(known)}: try lr={min(known) / 2:.3g}"


def table(sweep: Sweep, every: int = EVERY) -> Table:
    """The jobs in the order of the ranking, question by question; constants of the sweep are left out. Of more jobs
    than ``every`` the first and the last; there seeds are one row, with the median of their objectives."""
    short = len(sweep.jobs) <= every
    merged = not short and REPEATS in sweep.swept and len(sweep.swept) > 1
    seeds = {setting.middle: setting for part in sweep.parts for setting in part.settings} if merged else {}
    names = [name for name in sweep.swept if not (merged and name == REPEATS)]
    columns = [column(sweep, name) for name in names]
    ends: dict[str, Callable[[Job], str]] = {
        "seeds": lambda job: spread(seeds[job]) if job in seeds else "",
        "steps": lambda job: "" if job.steps is None or job.steps < 0 else str(job.steps),
        "status": lambda job: job.status,
    }
    if not merged:
        del ends["seeds"]
    if "steps" in sweep.swept:
        del ends["steps"]
    if all(job.status == "completed" for job in sweep.jobs):
        del ends["status"]

    def row(job: Job) -> Row:
        value = seeds[job].median if job in seeds else job.objective
        objective = "" if value is None else f"{value:.6g}"
        told = (text(job) for text in ends.values())
        return Row((str(job.number), *(texts[job] for texts in columns), objective, *told), job.status)

    head = ("job", *map(printable, names), measured(sweep), *ends)
    if short:
        return Table(head, tuple(row(job) for part in sweep.parts for job in part.ranked))
    rows: list[Row] = []
    for part in sweep.parts[:EVERY]:
        done = [setting.middle for setting in part.settings] if merged else [job for job in part.ranked if job.done]
        top, bottom = max(1, TOP // len(sweep.parts)), BOTTOM if part is sweep else 0
        rows += few(sweep, done, [job for job in part.ranked if job.lost], row, top, bottom)
    if more := sum(len(part.jobs) for part in sweep.parts[EVERY:]):
        rows.append(Row((), "completed", f"... {more} jobs of other questions"))
    return Table(head, tuple(rows))


def few(
    sweep: Sweep, done: Sequence[Job], lost: Sequence[Job], row: Callable[[Job], Row], top: int, bottom: int
) -> Iterator[Row]:
    """The first and the last results of a question, and words about all that is left out but failures."""
    top = len(done) if len(done) <= top + bottom + 2 else top
    left = done[top : len(done) - bottom]
    yield from map(row, done[:top])
    if left:
        yield Row((), "completed", f"... {len(left)} more, {measured(sweep)} {extent(job.objective for job in left)}")
    yield from map(row, done[max(top, len(done) - bottom) :])
    if len(lost) > BOTTOM:
        yield Row((), lost[0].status, f"... {len(lost)} diverged{where(sweep, lost)}")
    else:
        yield from map(row, lost)


def spread(setting: Setting) -> str:
    """How many seeds there are, between which their objectives lie, and how many diverged."""
    away = sum(job.lost for job in setting.jobs)
    finite = extent(value for value in setting.objectives if math.isfinite(value))
    return f"{len(setting.jobs)}: {finite}" + f", {away} diverged" * (away > 0)


def errors(sweep: Sweep) -> Iterator[str]:
    """What failed, each different error once, with the jobs that it befell."""
    found: dict[str, list[Job]] = {}
    for job in sweep.jobs:
        if job.status == "failed":
            found.setdefault(job.error, []).append(job)
    for error, jobs in list(found.items())[:ERRORS]:
        numbers = ", ".join(str(job.number) for job in jobs[:ERRORS]) + (", ..." if len(jobs) > ERRORS else "")
        yield printable(f"job{'s' * (len(jobs) > 1)} {numbers}: {error}")
    if len(found) > ERRORS:
        yield f"{len(found) - ERRORS} other errors: column error of sweep.csv"


def where(sweep: Sweep, jobs: Sequence[Job]) -> str:
    """The range of every swept number among ``jobs``, and the words."""
    parts = []
    for name in sweep.swept:
        values = dict(zip(sweep.jobs, sweep.column(name), strict=True))
        seen = dict.fromkeys(values[job] for job in jobs if values[job] is not None)
        if numbers := [value for value in seen if isinstance(value, float)]:
            parts.append(f"{name} {extent(numbers)}")
        elif len(seen) <= ERRORS:
            parts.append(f"{name} {', '.join(map(str, seen))}")
    return f": {'; '.join(parts)}" if parts else ""


def extent(values: Iterable[float | None]) -> str:
    """From the least to the largest."""
    found = [value for value in values if value is not None]
    low, high = min(found), max(found)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def measured(sweep: Sweep) -> str:
    """The objective's name as it is read."""
    return printable(sweep.measure.replace("_", " "))


def column(sweep: Sweep, name: str) -> dict[Job, str]:
    """What each job has of a knob, as people read it."""
    return dict(zip(sweep.jobs, texts(sweep.column(name)), strict=True))


def texts(values: Sequence[Value]) -> list[str]:
    """A column for people: numbers with as few digits as tell them apart."""
    numbers = {value for value in values if isinstance(value, float)}
    digits = next((d for d in DIGITS if len({f"{v:.{d}g}" for v in numbers}) == len(numbers)), DIGITS[-1])
    return ["" if v is None else f"{v:.{digits}g}" if isinstance(v, float) else printable(v) for v in values]


def fitted(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The rows with their widest columns clipped until a line has ``width`` characters."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + GAP * (len(widths) - 1) > width and max(widths) > LEAST:
        widths[widths.index(max(widths))] -= 1
    return [[clip(text, most) for text, most in zip(row, widths, strict=True)] for row in rows]


def clip(text: str, most: int) -> str:
    """The text, or its beginning and its end, in ``most`` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - 1 - (most - 1) // 3]}…{text[len(text) - (most - 1) // 3 :]}"
