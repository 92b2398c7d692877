"""What axes can show, whether they are logarithmic, and lines on them. Plain numbers, without torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from calclab.figure.records import CurvesPanel, Line, Numbers

HUGE = 1e150  # beyond this, float64 arithmetic on axes overflows
TINY = 1e-290  # ... and below this, that of logarithmic ones


def loggable(values: Sequence[float]) -> bool:
    """A logarithmic axis shows these: none is negative, and the positive ones span a decade."""
    finite = [v for v in values if math.isfinite(v)]
    above = [v for v in finite if v > 0]
    return bool(above) and min(finite) >= 0 and max(above) / 10 >= min(above)


def geometric(values: Sequence[float]) -> bool:
    """Whether numbers are spaced as on a logarithmic axis: over more than a decade, and their middle nearer to the
    geometric mean of the ends than to the arithmetic one.

    >>> geometric([0.001, 0.01, 0.1]), geometric([0.1, 0.2, 0.3, 0.4]), geometric([0.0, 1.0, 10.0])
    (True, False, False)
    """
    found = set(values) or {0.0}
    low, high, middle = min(found), max(found), statistics.median(found)
    nearer = abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2) if low > 0 else False
    return 0 < low <= high / 10 and (nearer or len(found) == 2)


def course(
    title: str,
    xlabel: str,
    raw: Sequence[Line],
    log: str,
    ticks: tuple[str, ...] = (),
    guides: tuple[Line, ...] = (),
    top: float = 0.0,
) -> CurvesPanel:
    """The panel of lines as they are: ``log`` holds where axes are logarithmic if they can be."""
    xlog = "x" in log and loggable([v for line in raw for v in line.x])
    ylog = "y" in log and loggable([v for line in raw for v in line.y])
    lines = tuple(drawn(line, xlog, ylog) for line in raw)
    if not any(math.isfinite(x) and math.isfinite(y) for line in lines for x, y in zip(line.x, line.y, strict=True)):
        xlog = ylog = False  # no point is left, and a logarithmic axis needs one
        lines = tuple(drawn(line, xlog, ylog) for line in raw)
    hidden = sum(v == 0 for line in raw for v in line.x) if xlog else 0
    hidden += sum(v == 0 for line in raw for v in line.y) - sum(len(line.zeros) for line in lines) if ylog else 0
    lost = sum(not math.isfinite(v) for line in raw for v in line.y)
    notes = [f"zeros, off the logarithmic axis: {hidden}"] if hidden else []
    notes += [f"not finite or too large to draw: {lost}"] if lost else []
    guides = tuple(drawn(line, xlog, ylog) for line in guides)
    return CurvesPanel(title, xlabel, lines, xlog, ylog, "; ".join(notes), ticks, guides, top)


def drawn(line: Line, xlog: bool, ylog: bool) -> Line:
    """The line without what its axes cannot show; more than a lone zero is kept aside, to be shown at the bottom."""
    zeros = tuple(x for x, y in zip(line.x, line.y, strict=True) if y == 0 and (x > 0 or not xlog)) if ylog else ()
    kept = zeros if len(zeros) > 1 else ()
    return replace(line, x=positive(line.x, xlog), y=positive(line.y, ylog), zeros=kept)


def positive(values: Numbers, log: bool) -> Numbers:
    return tuple(v if v > 0 else math.nan for v in values) if log else values


def words(name: str) -> str:
    """A name as it is read: gradient norm. Names of parameters and features, which have dots or brackets, stay."""
    return name.replace("_", " ") if not set(name) & set(".[/") else name
