"""What is to be seen in a picture, as small frozen records of plain numbers: tests compare these, `draw` draws them.

Every decision is made here: which axes can be logarithmic, which window, which levels, which bars, what is left out
(and says so in ``note``). Values that are not finite stay in the records as NaN, and are never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Bars, Columns, Contours, Curves, Heatmap, Labels, Picture
from calclab.figure.window import Field, field, window

Numbers = tuple[float, ...]
HUGE = 1e150  # beyond this, float64 arithmetic on axes overflows
NAMED_BARS, ALL_BARS = 30, 1000
TINY = 1 / HUGE
DECADES = 1e3  # a spectrum wider than this is seen on a logarithmic axis only


@dataclass(frozen=True)
class Line:
    name: str
    x: Numbers
    y: Numbers
    zeros: Numbers = ()  # where y is 0 and a logarithmic axis cannot show it


@dataclass(frozen=True)
class CurvesPanel:
    title: str
    xlabel: str
    lines: tuple[Line, ...]
    xlog: bool
    ylog: bool
    note: str = ""
    ticks: tuple[str, ...] = ()  # names of steps 0, 1, 2, ...: links, layers


@dataclass(frozen=True)
class ContoursPanel:
    title: str
    axes: tuple[str, str]
    path: tuple[tuple[float, float], ...]
    minima: tuple[tuple[float, float], ...]
    field: Field
    note: str = ""


@dataclass(frozen=True)
class HeatmapPanel:
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    matrix: tuple[Numbers, ...]
    limit: float  # colours go from -limit to limit
    note: str = ""


@dataclass(frozen=True)
class BarsPanel:
    title: str
    names: tuple[str, ...]  # empty: too many to name
    values: Numbers
    note: str = ""
    log: bool = False


Panel = CurvesPanel | ContoursPanel | HeatmapPanel | BarsPanel


def panel(picture: Picture, columns: Columns, labels: Labels, title: str = "") -> Panel | None:
    """The record of ``picture``; None where nothing of it was logged."""
    heading = f"{title}: {words(picture.name)}" if title else words(picture.name)
    match picture:
        case Curves():
            return curves(picture, columns, labels, heading)
        case Contours():
            return contours(picture, columns, heading)
        case Heatmap():
            return heatmap(picture, columns, labels, heading)
        case Bars():
            return bars(picture, columns, labels, heading)


def words(name: str) -> str:
    """A name as it is read: gradient norm. Names of parameters and features, which have dots or brackets, stay."""
    return name.replace("_", " ") if not set(name) & set(".[/") else name


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
        raw.append(Line(name, tuple(xs), numbers(column.data)))
    if not raw:
        return None
    xlog = "x" in picture.log and loggable([v for line in raw for v in line.x])
    ylog = "y" in picture.log and loggable([v for line in raw for v in line.y])
    lines = tuple(drawn(line, xlog, ylog) for line in raw)
    hidden = sum(v == 0 for line in raw for v in line.x) if xlog else 0
    hidden += sum(v == 0 for line in raw for v in line.y) - sum(len(line.zeros) for line in lines) if ylog else 0
    lost = sum(not math.isfinite(v) for line in raw for v in line.y)
    notes = [f"zeros, off the logarithmic axis: {hidden}"] if hidden else []
    notes += [f"not finite or too large to draw: {lost}"] if lost else []
    names = labels.get(picture.against, ())
    last = max((k for line in raw for k in line.x if math.isfinite(k)), default=0.0)
    ticks = tuple(map(words, names[0])) if len(names) == 1 and last < len(names[0]) <= NAMED_BARS else ()
    return CurvesPanel(title, words(picture.against), lines, xlog, ylog, "; ".join(notes), ticks)


def drawn(line: Line, xlog: bool, ylog: bool) -> Line:
    """The line without what its axes cannot show; more than a lone zero is kept aside, to be shown at the bottom."""
    zeros = tuple(x for x, y in zip(line.x, line.y, strict=True) if y == 0 and (x > 0 or not xlog)) if ylog else ()
    return Line(words(line.name), positive(line.x, xlog), positive(line.y, ylog), zeros if len(zeros) > 1 else ())


def loggable(values: Sequence[float]) -> bool:
    """A logarithmic axis shows these: none is negative, and the positive ones span a decade."""
    finite = [v for v in values if math.isfinite(v)]
    above = [v for v in finite if v > 0]
    return bool(above) and min(finite) >= 0 and max(above) / 10 >= min(above)


def positive(values: Numbers, log: bool) -> Numbers:
    return tuple(v if v > 0 else math.nan for v in values) if log else values


def contours(picture: Contours, columns: Columns, title: str) -> ContoursPanel | None:
    function = picture.function
    column = columns.get(picture.path)
    if column is None or column.data.ndim != 2 or column.data.shape[1] != 2 or function.start.shape != (2,):
        return None
    path = column.data.double()
    minima = torch.zeros(0, 2) if function.minima is None else function.minima.detach().cpu().double().reshape(-1, 2)
    bounds = window(path, function)
    shown = field(function, bounds)
    inside = (path.isfinite() & (path >= bounds[:, 0]) & (path <= bounds[:, 1])).all(1)
    note = f"{int((~inside).sum())} of {len(path)} positions are outside" if not bool(inside.all()) else ""
    clipped = torch.where(path.isfinite().all(1, keepdim=True), path.clamp(-HUGE, HUGE), torch.nan)
    near = ((minima >= bounds[:, 0]) & (minima <= bounds[:, 1])).all(1)
    names = (function.variables[0], function.variables[1])
    return ContoursPanel(title, names, pairs(clipped), pairs(minima[near]), shown, note)


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
    limit = NAMED_BARS if picture.ranked else ALL_BARS
    notes = [f"the {limit} {'largest' if picture.ranked else 'first'} of {len(values)}"] if len(order) > limit else []
    lost = sum(not math.isfinite(v) for v in values)
    notes += [f"not finite: {lost}"] if lost else []
    order = order[:limit]
    shown = tuple(names[i] for i in order) if len(order) <= NAMED_BARS else ()
    log = not picture.ranked and lost == 0 and min(values, default=0.0) > TINY and max(values) > DECADES * min(values)
    return BarsPanel(title, shown, tuple(values[i] for i in order), "; ".join(notes), log)


def numbers(values: Tensor) -> Numbers:
    """A vector as floats; what is not finite, or too large for axes, is NaN."""
    values = values.double()
    return tuple(torch.where(values.abs() < HUGE, values, torch.nan).tolist())


def pairs(points: Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in points.tolist())


def axis_names(names: Sequence[Sequence[str]], position: int, size: int) -> tuple[str, ...]:
    if position < len(names) and len(names[position]) == size:
        return tuple(map(str, names[position]))
    return tuple(map(str, range(size)))
