"""Curves of runs over each other: what all of them, or at least two, logged under the same name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from calclab.archive.run import LOST
from calclab.difference.sides import Sides
from calclab.errors import UserError
from calclab.figure.record.scale import HUGE, course, words
from calclab.figure.records import CurvesPanel, Line
from calclab.text import printable, shortened

FIRST = (
    "loss", "gradient_norm", "held_out_loss", "held_out_accuracy", "held_out_r2", "train_accuracy", "sharpness",
    "distance_to_minimum", "contraction", "step_length",
)  # fmt: skip
VECTORS = ("importance", "eigenvalues", "singular_values")  # that are looked at first
NO_COURSE = ("importance",)  # topics whose steps are rows, and then trainings: of these their vectors are compared
NAMED = 30  # entries with names along an axis
PANELS = 4  # unless more are asked for
LINES = 12  # in one picture
POINTS = 2000  # of a line
BEYOND = 100.0  # times the largest first value: where a run that runs away leaves the picture
AWAY = ("cosine", "step")  # of little to look at from afar


def courses(sides: Sides, asked: Sequence[str], drawn: Sequence[int]) -> list[CurvesPanel]:
    """A panel for each name: those ``asked`` for, or the first that two runs have; lines of the runs ``drawn``."""
    over_steps = {i: sides.runs[i].names["scalars"] for i in drawn}
    entries = {i: sides.runs[i].names["trajectories"] for i in drawn}
    known = list(dict.fromkeys(name for found in (over_steps, entries) for names in found.values() for name in names))
    for name in asked:
        if name not in known:
            raise UserError(f"no run has logged {name!r}. There are: {', '.join(known) or 'none'}")
    shared = sorted((name for name in known if shared_by(over_steps, name) > 1), key=rank)
    made = (panel(sides, name, drawn, over_steps) for name in asked or shared)
    found = [each for each in made if each is not None][: None if asked else PANELS]
    over_rows = all(sides.runs[i].topic in NO_COURSE for i in drawn)
    if found and not asked and not over_rows:
        return found
    last = sorted((name for name in asked or known if shared_by(entries, name) > (0 if asked else 1)), key=rank)
    last = [name for name in last if asked or name in VECTORS] or last
    profiles = (profile(sides, name, drawn, entries) for name in last[:PANELS])
    return (found if asked else []) + [each for each in profiles if each is not None]


def shared_by(names: dict[int, list[str]], name: str) -> int:
    return sum(name in found for found in names.values())


def rank(name: str) -> tuple[int, int]:
    """What is looked at first."""
    first = (*VECTORS, *FIRST)
    return (first.index(name) if name in first else len(first), name.startswith(AWAY))


def panel(sides: Sides, name: str, drawn: Sequence[int], names: dict[int, list[str]]) -> CurvesPanel | None:
    """A scalar over the steps; None where it is no course, but a single number."""
    raw = []
    for i in drawn:
        if name not in names[i]:
            continue
        column = sides.runs[i].scalars[name].dropna()
        stride = max(1, -(-len(column) // POINTS))
        kept = sorted({*range(0, len(column), stride), len(column) - 1} - {-1})
        xs, ys = column.index.to_list(), column.to_list()
        raw.append((i, Line(sides.letters[i], tuple(float(xs[k]) for k in kept), tuple(float(ys[k]) for k in kept))))
    if max((len(line.x) for _, line in raw), default=0) < 2:
        return None
    return replace(course(words(name), "step", list(bounded(sides, raw)), "y"), whole=True)


def profile(sides: Sides, name: str, drawn: Sequence[int], names: dict[int, list[str]]) -> CurvesPanel | None:
    """A vector as it was logged last, over its entries."""
    raw = []
    entries: tuple[str, ...] = ()
    for i in drawn:
        if name in names[i] and len(frame := sides.runs[i].trajectory(name)):
            entries = max(entries, tuple(map(str, frame.columns)), key=len)
            ys = [float(y) if abs(float(y)) < HUGE else math.nan for y in frame.iloc[-1].to_list()[:POINTS]]
            raw.append(Line(sides.letters[i], tuple(map(float, range(len(ys)))), tuple(ys)))
    if not raw or max(len(line.x) for line in raw) < 2:
        return None
    called = entries if len(entries) <= NAMED and not all(entry.isdigit() for entry in entries) else ()
    return replace(course(words(name), "entry", raw, "y", called), whole=True)


def bounded(sides: Sides, raw: Sequence[tuple[int, Line]]) -> Iterator[Line]:
    """A run that runs away is shown as long as it is near the others."""
    stay = [line for i, line in raw if sides.runs[i].status not in LOST]
    first = [line.y[0] for line in stay or [line for _, line in raw] if line.y and abs(line.y[0]) < HUGE]
    most = max((abs(y) for line in stay for y in line.y if abs(y) < HUGE), default=0.0)
    most = max(most, BEYOND * max(map(abs, first), default=1.0))
    for i, line in raw:
        edge = most if sides.runs[i].status in LOST else HUGE
        yield replace(line, y=tuple(y if abs(y) <= edge else math.nan for y in line.y))


# --- in letters, for a terminal ---


def letters(made: CurvesPanel, width: int = 72, height: int = 14) -> list[str]:
    """The curves as text, each drawn with its name, * where several meet; at the left the ends of the axis."""
    log = made.ylog
    drawn = [
        tuple((x, scaled(y, log)) for x, y in zip(line.x, line.y, strict=True) if drawable(y, log))
        for line in made.lines
    ]
    points = [point for line in drawn for point in line]
    if not points:
        return [f"{made.title}: no finite values"]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    ends = [label(high, made.ylog), label(low, made.ylog)]
    margin = max(map(len, ends))
    columns = max(20, width - margin - 2)
    rows = [[" "] * columns for _ in range(height)]
    for line, name in zip(drawn, (line.name for line in made.lines), strict=True):
        for column, y in sampled(line, left, right, columns):
            row = round((high - y) / (high - low) * (height - 1)) if high > low else height // 2
            seen = rows[row][column]
            rows[row][column] = name[0] if seen in (" ", name[0]) else "*"
    sides = [ends[0], *[""] * (height - 2), ends[1]]
    body = [f"{side:>{margin}} ┤{''.join(row).rstrip()}" for side, row in zip(sides, rows, strict=True)]
    ends = [made.ticks[0], made.ticks[-1]] if made.ticks else [f"{left:g}", f"{made.xlabel} {right:g}"]
    ends = [shortened(printable(end), columns // 2) for end in ends]
    scale = " (logarithmic)" if made.ylog else ""
    floor = f"{'':>{margin}} └{'─' * columns}"
    foot = f"{'':>{margin}}  {ends[0]}{ends[1]:>{columns - len(ends[0])}}"
    return [f"{made.title}{scale}", *body, floor, foot]


def sampled(
    line: Sequence[tuple[float, float]], left: float, right: float, columns: int
) -> Iterator[tuple[int, float]]:
    """The height of a line in every column that it passes, between its points on a straight line."""
    span = (right - left) or 1.0
    places = [(x - left) / span * (columns - 1) for x, _ in line]
    if len(line) == 1:
        yield round(places[0]), line[0][1]
    k = 0
    for column in range(math.ceil(places[0] - 1e-9), math.floor(places[-1] + 1e-9) + 1) if len(line) > 1 else ():
        while k < len(line) - 2 and places[k + 1] < column:
            k += 1
        gap = places[k + 1] - places[k]
        part = (column - places[k]) / gap if gap > 0 else 1.0
        yield column, line[k][1] + min(max(part, 0.0), 1.0) * (line[k + 1][1] - line[k][1])


def drawable(y: float, log: bool) -> bool:
    return math.isfinite(y) and (y > 0 or not log)


def scaled(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def label(y: float, log: bool) -> str:
    return f"{10**y if log else y:.3g}"
