"""What tells runs apart: knobs in which they differ, the software that computed them, and what they came to."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calclab.archive.naming import called
from calclab.archive.run import LOST, Run, part
from calclab.archive.sweep import Job, Sweep
from calclab.archive.table import shown

LETTERS = string.ascii_uppercase
LONG = 48  # characters of a name
# what is no part of the question, what copies another knob, and what only describes a subject
ASIDE = (
    "outputs", "rerun", "fail_fast", "checkpoint_every", "figures", "report", "sinks", "claims", "study",
    "optimizer.lr",
)  # fmt: skip
COPIES = ("topic.", "hydra/", "function.source", "function.minima", "function.domain")
GROUPS = ("topic", "experiment", "function", "data", "network", "optimizer", "line_search", "schedule", "law")
SETTING = ("calclab", "git_commit", "git_dirty", "torch", "numpy", "python", "device", "threads", "ranks", "host")
OUTCOME = ("status", "verdict", "checks", "steps", "seconds")
Row = tuple[str, list[Any]]


@dataclass(frozen=True)
class Sides:
    """Runs beside each other, in the order in which they were named."""

    runs: Sequence[Run]

    @property
    def letters(self) -> list[str]:
        """A, B, ..., Z, A1, B1, ..."""
        return [LETTERS[i % 26] + (str(i // 26) if i >= 26 else "") for i in range(len(self.runs))]

    @cached_property
    def names(self) -> list[str]:
        """What each is called beside the others: the knobs in which it differs, the most telling first."""
        rows = self.configuration
        words = [[f"{name}={cell(values[i])}" for name, values in rows] for i in range(len(self.runs))]
        names = [" ".join(called([word for word in each if not word.endswith("=")])) for each in words]
        return [name if len(name) <= LONG else f"{name[: LONG - 1]}…" for name in names]

    @cached_property
    def configuration(self) -> list[Row]:
        """The knobs in which the runs differ, each with the value of every run, None where it has none."""
        knobs = [question(run.knobs) for run in self.runs]
        asked = {word.lstrip("+~").partition("=")[0] for run in self.runs for word in run.outcome.get("asked") or ()}
        keys = dict.fromkeys(key for each in knobs for key in each if key not in ASIDE and not key.startswith(COPIES))
        rows = {key: [each.get(key) for each in knobs] for key in keys}
        rows |= {"topic": [run.topic for run in self.runs]}
        rows = {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
        told = {group for group in GROUPS if group in rows}  # another choice: its own knobs come with it
        kept = {key for key in rows if key in asked or key in told or not came_with(key, told)}
        return sorted(((key, rows[key]) for key in kept), key=lambda row: rank(row[0]))

    @cached_property
    def setting(self) -> list[Row]:
        """In what they were made differently: versions, machines."""
        made = [part(run.outcome, "provenance") for run in self.runs]
        rows = ((name, [each.get(name) for each in made]) for name in SETTING)
        return [(name, values) for name, values in rows if any(value != values[0] for value in values)]

    @cached_property
    def outcome(self) -> list[Row]:
        """Status, evidence, steps and seconds; then every number and word of the answers, in their order."""
        rows: list[Row] = [(name, [run.fact(name) for run in self.runs]) for name in OUTCOME]
        answers = [part(part(run.outcome, "answer"), "values") for run in self.runs]
        for name in dict.fromkeys(name for answer in answers for name in answer):
            values = [
                run.values.get(name) if name in each else None for run, each in zip(self.runs, answers, strict=True)
            ]
            if any(value is not None for value in values):
                rows.append((name, values))
        return rows

    @property
    def lost(self) -> int:
        """How many ran away."""
        return sum(run.status in LOST for run in self.runs)

    @cached_property
    def sweep(self) -> Sweep:
        """The runs as a sweep over the knobs in which they differ: what is ranked there, and how, holds here."""
        jobs = [
            Job(
                i,
                tuple(f"{name}={cell(values[i])}" for name, values in self.configuration),
                run.status,
                found[1] if (found := run.objective) else None,
                run.fact("steps"),
                run.fact("seconds"),
                run.folder,
                str(run.fact("error") or ""),
            )
            for i, run in enumerate(self.runs)
        ]
        made = Sweep(Path(), jobs)
        made.runs = dict(enumerate(self.runs))
        return made


def ranked(sides: Sides) -> Sides:
    """The same runs, the best of every question first, then the second of each, and so on."""
    rounds = itertools.zip_longest(*(part.ranked for part in sides.sweep.parts))
    return Sides([sides.runs[job.number] for jobs in rounds for job in jobs if job is not None])


def question(knobs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The knobs that were of account: of a network's run the function, which is there by default, is none."""
    if knobs.get("network") is None:
        return knobs
    return {key: value for key, value in knobs.items() if key.partition(".")[0] != "function"}


def came_with(key: str, told: Collection[str]) -> bool:
    """Whether a knob is one of those that come with another choice of a group; of a topic these stand at the root."""
    group, dot, _ = key.partition(".")
    return group in told if dot and group in GROUPS else "topic" in told


def rank(key: str) -> tuple[int, str]:
    """Groups first, then the learning rate, then all else by name."""
    first = (*GROUPS, "lr", "steps", "seed")
    return (first.index(key) if key in first else len(first), key)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    return shown("", value)


def ratio(values: Sequence[Any]) -> str:
    """How much larger the second number is than the first, where that is something to say."""
    if len(values) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return ""
    a, b = values
    if not (math.isfinite(a) and math.isfinite(b)) or a * b <= 0 or a == b:
        return "same" if a == b else ""
    return f"×{b / a:.4g}"


def same(sides: Sides) -> int:
    """How many knobs have the same value in all runs."""
    every: Mapping[str, Any] = dict.fromkeys(
        key for run in sides.runs for key in run.knobs if key not in ASIDE and not key.startswith(COPIES)
    )
    return sum(all(run.knobs.get(key) == sides.runs[0].knobs.get(key) for run in sides.runs) for key in every)
