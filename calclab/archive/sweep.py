"""A sweep read back from its folder, outputs/sweeps/<sweep>/: its jobs, what was swept, and which job is best.

Everything comes from sweep.csv, optuna.json (of a search) and the records of the jobs' own folders; nothing is rerun.
"""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calclab.archive.run import LOST, RESULTS, Run, read_run
from calclab.errors import UserError
from calclab.text import of_cell

TABLE, SEARCH = "sweep.csv", "optuna.json"
REPEATS = "seed"  # the knob that repeats a question
SUBJECTS = ("topic", "experiment", "function", "data")  # groups of which each choice is another question: so are parts
SAME = ("function.at",)  # ... but for these
LARGE = ("accuracy", "r2")  # at the end of names of what is better when it is larger
READ = 2000  # records of jobs that are read, at most, for what sweep.csv does not hold
UNNAMED = "objective"
LIMIT = "largest_stable_lr"
NAME = re.compile(r" (?=[+~]{0,2}[\w./@:-]+=)")  # where the next override begins
Value = float | str | None


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the knobs that its overrides name, as texts, and what it came to."""

    number: int
    words: tuple[str, ...]
    status: str
    objective: float | None
    steps: int | None
    seconds: float | None
    folder: Path | None
    error: str

    @cached_property
    def knobs(self) -> dict[str, str]:
        """What was typed, by key; quotes are taken off."""
        pairs = (word.lstrip("+~").partition("=") for word in self.words)
        return {key: unquoted(value) for key, _, value in pairs}

    @property
    def done(self) -> bool:
        """It ended with a finite objective."""
        return self.status in RESULTS and self.objective is not None and math.isfinite(self.objective)

    @property
    def lost(self) -> bool:
        """It ran away: a result, but no number to rank by."""
        return self.status in LOST or (self.status in RESULTS and not self.done)


@dataclass(frozen=True)
class Setting:
    """Jobs that differ in the seed alone, in the order of the ranking, and the objective of each: infinite, on the bad
    side, where it ran away."""

    jobs: tuple[Job, ...]
    objectives: tuple[float, ...]

    @property
    def middle(self) -> Job:
        """The job at the median; of two the better one."""
        return self.jobs[(len(self.jobs) - 1) // 2]

    @property
    def median(self) -> float:
        return statistics.median(self.objectives)


class Sweep:
    """The jobs of one sweep, in the order of their numbers."""

    def __init__(self, folder: Path, jobs: Sequence[Job], search: Mapping[str, Any] | None = None) -> None:
        self.folder, self.jobs, self.search = folder, tuple(jobs), search

    @cached_property
    def swept(self) -> tuple[str, ...]:
        """The knobs in which the jobs differ, in the order in which they were typed."""
        keys = dict.fromkeys(key for job in self.jobs for key in job.knobs)
        return tuple(key for key in keys if len({job.knobs.get(key) for job in self.jobs}) > 1)

    def column(self, key: str) -> list[Value]:
        """The values of one knob, a job each: numbers where all are numbers, else texts; None where it is not named."""
        texts = [job.knobs.get(key) for job in self.jobs]
        found = {text: number(text) for text in set(texts) if text is not None}
        return [found[t] if t else None for t in texts] if None not in found.values() else list(texts)

    @cached_property
    def runs(self) -> dict[int, Run]:
        """The runs of the first ``READ`` jobs that have a folder, by number."""
        return {job.number: read_run(job.folder) for job in self.jobs[:READ] if job.folder is not None}

    @property
    def asked(self) -> tuple[str, ...]:
        """The knobs swept that make another question."""
        return tuple(key for key in self.swept if key.split(".")[0] in SUBJECTS and key not in SAME)

    @cached_property
    def parts(self) -> list[Sweep]:
        """The jobs of each question: objectives of different functions or data do not compare."""
        if not self.asked:
            return [self]
        found: dict[tuple[str | None, ...], list[Job]] = {}
        for job in self.jobs:
            found.setdefault(tuple(job.knobs.get(key) for key in self.asked), []).append(job)
        parts = [Sweep(self.folder, jobs, self.search) for jobs in found.values()]
        for part in parts:
            part.runs = {job.number: self.runs[job.number] for job in part.jobs if job.number in self.runs}
        return parts

    @cached_property
    def measure(self) -> str:
        """What the objective is: the name that all jobs agree on, else ``UNNAMED``."""
        names = {run.objective[0] for run in self.runs.values() if run.objective}
        return names.pop() if len(names) == 1 else UNNAMED

    @property
    def comparable(self) -> bool:
        """Whether all objectives are of one kind."""
        return self.measure != UNNAMED

    @property
    def direction(self) -> str:
        """minimize or maximize: of a search as it was asked, else by what the objective is."""
        if self.search is not None:
            return str(self.search.get("direction"))
        return "maximize" if self.measure.endswith(LARGE) else "minimize"

    @property
    def judged(self) -> bool:
        """Whether the first in the ranking is better than the others, or only has the smallest number."""
        return self.search is not None or self.measure.endswith((*LARGE, "loss"))

    @cached_property
    def ranked(self) -> list[Job]:
        """All jobs: by objective, the best first; then those that ran away, did not end, and failed."""
        sign = -1 if self.direction == "maximize" else 1

        def place(job: Job) -> tuple[int, float, int]:
            kind = 0 if job.done else 1 if job.lost else 3 if job.status == "failed" else 2
            return kind, sign * (job.objective or 0.0) if kind == 0 else 0.0, job.number

        return sorted(self.jobs, key=place)

    @cached_property
    def settings(self) -> list[Setting]:
        """What was asked with one seed or several, by the median of the objectives, the best first."""
        worst = -math.inf if self.direction == "maximize" else math.inf
        found: dict[tuple[str, ...], list[Job]] = {}
        for job in self.ranked:
            if job.done or job.lost:
                words = tuple(word for word in job.words if not word.startswith(f"{REPEATS}="))
                found.setdefault(words, []).append(job)
        made = (
            Setting(tuple(jobs), tuple(worst if job.lost or job.objective is None else job.objective for job in jobs))
            for jobs in found.values()
        )
        finite = [setting for setting in made if math.isfinite(setting.median)]
        return sorted(finite, key=lambda setting: setting.median, reverse=worst < 0)

    @property
    def best(self) -> Job | None:
        """The job in the middle of the best setting; None where no job has an objective."""
        return self.settings[0].middle if self.settings else None

    @cached_property
    def limits(self) -> list[float | None]:
        """The largest stable lr of each job as theory says (of gradient descent 2/λmax, at the start), where known."""
        known = [run.values.get(LIMIT) if (run := self.runs.get(job.number)) else None for job in self.jobs]
        return [value if isinstance(value, float) and math.isfinite(value) else None for value in known]


def is_sweep(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def read_sweep(folder: Path) -> Sweep:
    """The sweep of a folder; UserError where there is none that can be read."""
    try:
        with open(folder / TABLE, encoding="utf-8", newline="") as file:
            rows = [{key: of_cell(value or "") for key, value in row.items() if key} for row in csv.DictReader(file)]
        return Sweep(folder, [job(row, folder) for row in rows], searched(folder))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder}: {TABLE} cannot be read ({why}). Name the folder of a sweep: outputs/sweeps/<sweep>"
        ) from None


def job(row: Mapping[str, Any], folder: Path) -> Job:
    """A row of sweep.csv, as texts or as numbers."""
    given = {key: value for key, value in row.items() if value not in ("", None)}
    objective, steps, seconds = (None if (v := given.get(k)) is None else float(v) for k in NUMBERS)
    place = given.get("folder")
    return Job(
        int(given["job"]),
        tuple(split(str(given.get("overrides", "")))),
        str(given["status"]),
        objective,
        None if steps is None else int(steps),
        seconds,
        None if place is None else moved(Path(place), folder),
        str(given.get("error", "")),
    )


NUMBERS = ("objective", "steps", "seconds")


def moved(run: Path, sweep: Path) -> Path:
    """Where a job's folder is, also when the outputs are read from elsewhere, or have been moved."""
    here = sweep.parent.parent / run.parent.name / run.name
    return here if here.is_dir() else run


def searched(folder: Path) -> dict[str, Any] | None:
    """What a search has left of itself; None of a sweep that listed its values."""
    try:
        found = json.loads((folder / SEARCH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "direction" in found else None


def split(overrides: str) -> Iterator[str]:
    """The overrides of a job, which stand in one line: spaces within quotes and brackets are their own.

    >>> list(split("lr=0.1 function.expr='x + y, a=b' function.at=[1, 2]"))
    ['lr=0.1', "function.expr='x + y, a=b'", 'function.at=[1, 2]']
    """
    depth, quote, first = 0, "", 0
    for i, mark in enumerate(overrides):
        if quote:
            quote = "" if mark == quote and overrides[i - 1] != "\\" else quote
        elif mark in "'\"":
            quote = mark
        elif mark == " " and depth <= 0 and NAME.match(overrides, i):
            yield overrides[first:i]
            first = i + 1
        else:
            depth += (mark in "([{") - (mark in ")]}")
    if overrides:
        yield overrides[first:]


def unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def number(text: str) -> float | None:
    """A number that was typed; None for a word."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
