"""Records of a function cut along lines (small multiples) and across a plane (a surface), from what was logged."""

from __future__ import annotations

import math

from calclab.core import Columns, Labels, Multiples, Surface
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import levels
from calclab.figure.record.scale import course, words
from calclab.figure.records import Field, Line, MultiplesPanel, SurfacePanel

MOST = 8  # panels in one figure


def multiples(picture: Multiples, columns: Columns, labels: Labels, title: str) -> MultiplesPanel | None:
    """None where any of its matrices was not logged."""
    if any(name not in columns or not len(columns[name].steps) for name in picture.shows):
        return None
    across = [numbers(row) for row in columns[picture.across].data[-1]]
    named = labels.get(picture.lines[0], ())
    names = named[0] if named and len(named[0]) == len(across) else [str(i) for i in range(len(across))]
    panels = []
    for i, xs in enumerate(across[:MOST]):
        heights = [numbers(columns[name].data[-1][i]) for name in picture.lines]
        if not any(math.isfinite(x) for x in xs):
            continue
        raw = [
            Line(words(name), xs, ys, dashed=place > 0)
            for place, (name, ys) in enumerate(zip(picture.lines, heights, strict=True))
        ]
        panels.append(course(str(names[i]), picture.axis, raw, ""))
    note = f"the first {MOST} of {len(across)}" if len(across) > MOST else ""
    return MultiplesPanel(title, tuple(panels), note) if panels else None


def surface(picture: Surface, columns: Columns, labels: Labels, title: str) -> SurfacePanel | None:
    """None where any of its parts was not logged, or where an axis has no length."""
    if any(name not in columns or not len(columns[name].steps) for name in picture.shows):
        return None
    heights, model = (columns[name].data[-1].double() for name in (picture.heights, picture.model))
    x, y = (numbers(columns[name].data[-1]) for name in (picture.across, picture.upward))
    if len(set(x)) < 2 or len(set(y)) < 2 or not all(map(math.isfinite, (*x, *y))):
        return None
    steps = levels(heights)
    seen, beside = (Field(x, y, tuple(numbers(row) for row in z), steps) for z in (heights, model))
    return SurfacePanel(title, (words(picture.across), words(picture.upward)), seen, beside)
