"""Choosing and ordering runs by what is known of them: ``lr>0.01``, ``subject=rosenbrock``, newest first.

A name is looked up as a fact, then among the values of all runs, then among their knobs; ``value.<name>`` and
``knob.<name>`` ask for one of these. Values are compared as numbers where both sides are numbers, else as text. A run
that lacks a name meets no condition on it, but ``name=null``.
"""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calclab.archive.read import known
from calclab.archive.run import FACTS, UNREADABLE, Run
from calclab.errors import UserError

STATUSES = (
    "completed", "converged", "diverged", "nonfinite", "interrupted", "failed", "running", UNREADABLE,
)  # fmt: skip
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
EQUAL = ("=", "==", "!=")
CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(>=|<=|!=|==|=|>|<)\s*(.*?)\s*")


@dataclass(frozen=True)
class Query:
    """Which runs: each field narrows the choice, an empty one does not. ``since`` and ``before`` bound the start."""

    topics: Sequence[str] = ()
    statuses: Sequence[str] = ()
    where: Sequence[str] = ()
    since: datetime | None = None
    before: datetime | None = None

    @property
    def empty(self) -> bool:
        return not (self.topics or self.statuses or self.where or self.since or self.before)


def select(runs: Sequence[Run], query: Query) -> list[Run]:
    """The runs that meet every condition, in the order given. UserError for a name that no run has."""
    topics = sorted({run.topic for run in runs})
    for topic in query.topics if runs else ():
        if topic not in topics:
            raise UserError(f"there are no runs of the topic {topic!r}; there are runs of: {', '.join(topics)}.")
    for status in query.statuses:
        if status not in STATUSES:
            raise UserError(f"{status!r} is no status. Type one of: {', '.join(STATUSES)}.")
    conditions = [condition(text) for text in query.where]
    chosen = [True] * len(runs)
    for name, test in conditions:
        chosen = [kept and test(value) for kept, value in zip(chosen, column(runs, name), strict=True)]
    return [run for run, kept in zip(runs, chosen, strict=True) if kept and meets(run, query)]


def meets(run: Run, query: Query) -> bool:
    """Topic, status and date; the status last, since it may ask a lock."""
    if query.topics and run.topic not in query.topics:
        return False
    if query.since or query.before:
        began = started(run)
        if began is None or (query.since and began < query.since) or (query.before and began >= query.before):
            return False
    return not query.statuses or run.status in query.statuses


def condition(text: str) -> tuple[str, Callable[[Any], bool]]:
    """The name in ``lr>0.01``, and the test of its value."""
    parts = CONDITION.fullmatch(text)
    if parts is None:
        raise UserError(
            f"--where {text} is no condition. Type name, one of {' '.join(OPERATORS)}, and a value, in quotes (else "
            "the shell takes < and >): --where 'lr>0.01'."
        )
    name, sign, wanted = parts.groups()
    target = parse(wanted)

    def test(found: Any) -> bool:
        if target is None:
            return sign in EQUAL and (found is None) is (sign != "!=")
        if found is None:
            return False
        if numeric(found) and numeric(target):
            return OPERATORS[sign](found, target)
        if sign in EQUAL:
            return OPERATORS[sign](found == target or plain(found) == wanted, True)
        if numeric(found):
            raise UserError(f"--where {text}: {name} is a number, and {wanted!r} is none.")
        return OPERATORS[sign](plain(found), wanted)

    return name, test


def parse(text: str) -> Any:
    """A number, a list, true, false, null; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)  # also nan, inf, 1e-3, .5
    except ValueError:
        return text


def numeric(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain(value: object) -> str:
    """A value as text: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def order(runs: Sequence[Run], by: str = "", *, reverse: bool = False) -> list[Run]:
    """The newest first; or by a name, the smallest first. Runs without that name (or with NaN) come last always."""
    if not by:
        by, reverse = "started", not reverse
    keyed = list(zip(column(runs, by), runs, strict=True))
    has = [(value, run) for value, run in keyed if not absent(value)]
    has.sort(key=lambda pair: rank(pair[0]), reverse=reverse)
    return [run for _, run in has] + [run for value, run in keyed if absent(value)]


def rank(value: Any) -> tuple[int, Any]:
    """Numbers before words."""
    return (0, value) if isinstance(value, int | float) else (1, plain(value))


def absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def column(runs: Sequence[Run], name: str) -> list[Any]:
    """The values of one name, None where a run has none. UserError where no run has it."""
    kind, _, rest = name.partition(".")
    if name in FACTS:
        return [run.fact(name) for run in runs]
    values, knobs = known(runs)
    if name in values:
        return [run.values.get(name) for run in runs]
    if name in knobs:
        return [run.knobs.get(name) for run in runs]
    if kind == "value" and rest in values:
        return [run.values.get(rest) for run in runs]
    if kind == "knob" and rest in knobs:
        return [run.knobs.get(rest) for run in runs]
    if runs:
        raise unknown(name, [*FACTS, *values, *knobs])
    return []


def unknown(name: str, names: Iterable[str]) -> UserError:
    """What to say of a name that no run has."""
    near = difflib.get_close_matches(name, sorted(set(names)), n=4, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"no run has {name!r}. {hint}All names: calclab runs --names")


def started(run: Run) -> datetime | None:
    """When a run began, in UTC where its record names no zone."""
    try:
        began = datetime.fromisoformat(run.fact("started") or "")
    except ValueError:
        return None
    return began if began.tzinfo else began.replace(tzinfo=UTC)


def moment(text: str) -> datetime:
    """A date or a time as typed, of this machine's zone unless it names one."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise UserError(f"{text!r} is no date. Type 2026-11-01 or 2026-11-01T18:30.") from None
