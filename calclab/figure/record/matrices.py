"""Matrices and vectors: heat maps and bars, of the last step at which they were logged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from calclab.core import Bars, Columns, Heatmap, Labels
from calclab.figure.record.curves import NAMED, numbers
from calclab.figure.record.scale import HUGE
from calclab.figure.records import BarsPanel, HeatmapPanel, Numbers

ALL_BARS = 1000
TINY = 1 / HUGE
DECADES = 1e3  # a spectrum wider than this is seen on a logarithmic axis only


def heatmap(picture: Heatmap, columns: Columns, labels: Labels, title: str) -> HeatmapPanel | None:
    column = columns.get(picture.matrix)
    if column is None or not len(column.steps) or column.data.ndim != 3:
        return None
    matrix = column.data[-1]
    names = labels.get(picture.matrix, ())
    rows, across = (axis_names(names, i, size) for i, size in enumerate(matrix.shape))
    entries = tuple(numbers(row) for row in matrix)
    finite = [abs(v) for row in entries for v in row if math.isfinite(v)]
    lost = sum(not math.isfinite(v) for row in entries for v in row)
    limit = max(finite, default=0.0) or 1.0
    return HeatmapPanel(title, rows, across, entries, limit, f"not finite: {lost}" if lost else "")


def bars(picture: Bars, columns: Columns, labels: Labels, title: str) -> BarsPanel | None:
    column = columns.get(picture.vector)
    if column is None or not len(column.steps) or column.data.ndim != 2:
        return None
    values = numbers(column.data[-1])
    names = axis_names(labels.get(picture.vector, ()), 0, len(values))
    order = list(range(len(values)))
    if picture.ranked:
        order.sort(key=lambda i: (math.isnan(values[i]), -values[i] if not math.isnan(values[i]) else 0.0))
    limit = NAMED if picture.ranked else ALL_BARS
    notes = [f"the {limit} {'largest' if picture.ranked else 'first'} of {len(values)}"] if len(order) > limit else []
    lost = sum(not math.isfinite(v) for v in values)
    notes += [f"not finite: {lost}"] if lost else []
    order = order[:limit]
    shown = tuple(names[i] for i in order) if len(order) <= NAMED else ()
    log = (
        not picture.low
        and not picture.ranked
        and lost == 0
        and min(values, default=0.0) > TINY
        and max(values) > DECADES * min(values)
    )
    low, high = (interval(columns, name, order) for name in (picture.low, picture.high))
    return BarsPanel(title, shown, tuple(values[i] for i in order), "; ".join(notes), log, low, high)


def interval(columns: Columns, name: str, order: Sequence[int]) -> Numbers:
    """One end of the interval of each bar; empty where there is none."""
    column = columns.get(name)
    if column is None or not len(column.steps):
        return ()
    values = numbers(column.data[-1])
    return tuple(values[i] for i in order)


def axis_names(names: Sequence[Sequence[str]], position: int, size: int) -> tuple[str, ...]:
    if position < len(names) and len(names[position]) == size:
        return tuple(map(str, names[position]))
    return tuple(map(str, range(size)))
