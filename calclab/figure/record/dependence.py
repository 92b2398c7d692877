"""The record of partial dependence: a panel for each feature, a line with a band for each output."""

from __future__ import annotations

from dataclasses import replace

from calclab.core import Columns, Dependence, Labels
from calclab.figure.record.curves import numbers
from calclab.figure.record.scale import course
from calclab.figure.records import Band, CurvesPanel, DependencePanel, Line


def dependence(picture: Dependence, columns: Columns, labels: Labels, title: str) -> DependencePanel | None:
    """None where it was not logged."""
    column = columns.get(picture.curves)
    if column is None or not len(column.steps):
        return None
    rows = [row for row in map(numbers, column.data[-1]) if row[0] == row[0]]
    if not rows:
        return None
    panels: list[CurvesPanel] = []
    for c in dict.fromkeys(int(row[0]) for row in rows):
        lines, bands = [], []
        for m in dict.fromkeys(int(row[1]) for row in rows if row[0] == c):
            at, mean, low, high = zip(*(row[2:] for row in rows if (row[0], row[1]) == (c, m)), strict=True)
            lines.append(Line(picture.outputs[m] if picture.outputs else "", at, mean))
            bands.append(Band(at, low, high))
        panels.append(replace(course("", picture.features[c], lines, ""), bands=tuple(bands)))
    note = "mean over rows with the feature put at each value; bands: 95 % interval of its change; dots: quantiles"
    return DependencePanel(title, tuple(panels), picture.axis, note)
