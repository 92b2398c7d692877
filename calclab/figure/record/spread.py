"""The record of lines with bands: medians and quartiles over starts, one line for each row of a matrix."""

from __future__ import annotations

import math
from dataclasses import replace

from calclab.core import Columns, Labels, Spread
from calclab.figure.record.curves import numbers
from calclab.figure.record.scale import course, positive
from calclab.figure.records import Band, CurvesPanel, Line, Numbers


def spread(picture: Spread, columns: Columns, labels: Labels, title: str) -> CurvesPanel | None:
    """None where any of its matrices was not logged."""
    if any(name not in columns or not len(columns[name].steps) for name in picture.shows):
        return None
    low, middle, high, across = ([numbers(row) for row in columns[name].data[-1]] for name in picture.shows)
    named = labels.get(picture.middle, ())
    names = named[0] if named and len(named[0]) == len(middle) else range(len(middle))
    raw = [Line(str(name), x, y) for name, x, y in zip(names, across, middle, strict=True)]
    panel = course(title, picture.axis, raw, "xy")
    bands = tuple(
        Band(positive(x, panel.xlog), closed(lower, panel.ylog), closed(upper, panel.ylog))
        for x, lower, upper in zip(across, low, high, strict=True)
    )
    return replace(panel, bands=bands)


def closed(edge: Numbers, log: bool) -> Numbers:
    """The edge of a band, NaN where the axis cannot show it: there the band has a gap."""
    return tuple(v if math.isfinite(v) else math.nan for v in positive(edge, log))
