"""The record of curves: which axes can be logarithmic, what they cannot show, and theory's lines behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Columns, Curves, Guide, Labels, Tracks
from calclab.figure.record.scale import HUGE, TINY, course, words
from calclab.figure.records import CurvesPanel, Line, Numbers

NAMED = 30  # names along an axis, at most
GUIDE = 200  # points of a guide


def curves(picture: Curves, columns: Columns, labels: Labels, title: str) -> CurvesPanel | None:
    raw = []
    for name in picture.columns:
        if name not in columns or (picture.against != "step" and picture.against not in columns):
            continue
        column = columns[name]
        if picture.against == "step":
            xs: Sequence[float] = [float(k) for k in column.steps]
        else:
            other = columns[picture.against]
            at = dict(zip(other.steps, numbers(other.data), strict=True))
            xs = [at.get(k, math.nan) for k in column.steps]
        raw.append(Line(words(name), tuple(xs), numbers(column.data)))
    if not raw:
        return None
    names = labels.get(picture.against, ())
    last = max((k for line in raw for k in line.x if math.isfinite(k)), default=0.0)
    ticks = tuple(map(words, names[0])) if len(names) == 1 and last < len(names[0]) <= NAMED else ()
    guides = [guide_line(guide, columns, raw) for guide in picture.guides] if picture.against == "step" else []
    panel = course(title, picture.axis or words(picture.against), raw, picture.log, ticks, tuple(filter(None, guides)))
    return replace(panel, whole=picture.against == "step")


def tracks(picture: Tracks, columns: Columns, labels: Labels, title: str) -> CurvesPanel | None:
    """None where the vector was not logged. An entry that does not exist yet is NaN, which needs no remark."""
    column = columns.get(picture.vector)
    if column is None or column.data.ndim != 2 or not len(column.steps):
        return None
    named = labels.get(picture.vector, ())
    width = column.data.shape[1]
    names = named[0] if named and len(named[0]) == width else [str(i) for i in range(width)]
    steps = tuple(float(k) for k in column.steps)
    raw = [Line(str(name), steps, numbers(entry)) for name, entry in zip(names, column.data.unbind(1), strict=True)]
    panel = course(title, "step", raw, picture.log)
    note = f"the first {NAMED} of {width}" if width > NAMED else ""
    return replace(panel, note=note, lines=panel.lines[:NAMED], whole=True)


def guide_line(guide: Guide, columns: Columns, raw: Sequence[Line]) -> Line | None:
    """y_0 ρ^(power k) as far as it stays among the values drawn; None where y_0 or ρ is not a positive number."""
    if isinstance(guide.of, str):
        column = columns.get(guide.of)
        if column is None or not len(column.steps):
            return None
        first, last, begin = float(column.steps[0]), float(column.steps[-1]), numbers(column.data[:1])[0]
    else:
        steps = [k for line in raw for k in line.x] or [math.nan]
        first, last, begin = min(steps), max(steps), guide.of
    factor = guide.factor
    if isinstance(factor, str):
        factor = (
            next((v for v in numbers(columns[factor].data) if math.isfinite(v)), math.nan)
            if factor in columns
            else math.nan
        )
    ys = [y for line in raw for y in line.y if y > 0]
    if not (0 < factor < math.inf and begin > 0 and ys):
        return None
    rate = guide.power * math.log(factor)  # of log y, a step
    edge = math.log(max(*ys, begin) if rate > 0 else min(*ys, begin))
    stay = last - first if rate == 0 else min(last - first, (edge - math.log(begin)) / rate)
    ks = [stay * i / (GUIDE - 1) for i in range(GUIDE)]
    return Line(guide.name, tuple(first + k for k in ks), tuple(begin * math.exp(rate * k) for k in ks))


def numbers(values: Tensor) -> Numbers:
    """A vector as floats; what is not finite, or too large for axes, is NaN, and what is too small for them is 0."""
    values = values.double()
    values = torch.where(values.abs() < TINY, 0.0, values)
    return tuple(torch.where(values.abs() < HUGE, values, torch.nan).tolist())
