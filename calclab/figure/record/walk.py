"""The record of a walk in one variable: where it was, on the curve of its function."""

from __future__ import annotations

import math

import torch

from calclab.core import Columns, Labels, Walk
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import cheap, values
from calclab.figure.record.paths import outside
from calclab.figure.record.window import beginning, known_minima, near
from calclab.figure.records import Line, WalkPanel

POINTS, FEW = 401, 61  # of the curve; of one that is dear to evaluate
STEPS = 200  # positions drawn


def walk(picture: Walk, columns: Columns, labels: Labels, title: str) -> WalkPanel | None:
    """None where no position was logged, or the function is nowhere finite where it went."""
    f = picture.function
    column = columns.get(picture.path)
    if column is None or column.data.ndim != 2 or column.data.shape[1] != 1 or not len(column.steps):
        return None
    path = column.data.double()
    there = near(path, beginning(f))
    known = torch.cat([path[there], beginning(f)[None]])[:, 0]
    low, high = float(known.min()), float(known.max())
    span = (high - low) or max(1.0, abs(high))
    minima = known_minima(f)[:, 0]
    minima = minima[(minima >= low - span) & (minima <= high + span)]
    low, high = min([low, *minima.tolist()]), max([high, *minima.tolist()])
    margin = 0.3 * ((high - low) or span)
    if f.domain is not None and bool(f.domain.isfinite().all()) and high - low > 0.1 * float(f.domain.diff()):
        low, high = min(low, float(f.domain[0, 0]) + margin), max(high, float(f.domain[0, 1]) - margin)
    x = torch.linspace(low - margin, high + margin, POINTS if cheap(f) else FEW, dtype=torch.float64)
    curve = Line("f", tuple(x.tolist()), numbers(values(f, x[:, None])))
    if not any(map(math.isfinite, curve.y)):
        return None
    shown = path[:STEPS]
    shown = torch.cat([shown, path[-1:]]) if len(path) > STEPS else shown
    heights = numbers(values(f, torch.cat([shown, minima[:, None]])))
    pairs = [(a if there_ else math.nan, b) for a, b, there_ in zip(
        shown[:, 0].tolist(), heights, [*there[:STEPS].tolist(), bool(there[-1])], strict=False)]  # fmt: skip
    stars = tuple(zip(minima.tolist(), heights[len(shown) :], strict=True))
    note = outside(column.steps, there)
    left = len(path) - len(shown)
    note = "; ".join(filter(None, (note, f"the first {STEPS} positions and the last" if left > 0 else "")))
    return WalkPanel(title, f.variables[0], curve, tuple(pairs), stars, note, bool(there[-1]))
