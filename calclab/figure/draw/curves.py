"""Curves: lines, clouds of dots, theory dashed behind them, and zeros below a logarithmic axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from calclab.figure.draw.canvas import (
    COLOURS,
    FAINT,
    blank,
    legend,
    log_ticks,
    longest_name,
    name_axis,
    plain,
    power,
    say,
)
from calclab.figure.records import CurvesPanel

STYLES = ("-", "--", "-.", ":")  # a second round of colours differs by its dashes
LEGEND = 12
GUIDE = "#8A8A8A"


def draw_curves(panel: CurvesPanel) -> Any:
    figure, axes = blank(panel.title, panel.note)
    plot(axes, panel)
    return figure


def plot(axes: Any, panel: CurvesPanel) -> None:
    """The curves on axes of their own, or among others in one figure."""
    for guide in panel.guides:
        axes.plot(guide.x, guide.y, color=GUIDE, lw=1.4, ls=(0, (5, 3)), label=plain(guide.name), zorder=1.5)
    for i, band in enumerate(panel.bands):
        axes.fill_between(band.x, band.low, band.high, color=COLOURS[i % len(COLOURS)], alpha=0.15, lw=0, zorder=1.2)
    for i, line in enumerate(panel.lines):
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i // len(COLOURS) % len(STYLES)]
        seen = sum(math.isfinite(y) for y in line.y)
        marker = "o" if seen <= 30 else None  # points between gaps have no line to show them
        style = "--" if line.dashed else style
        if panel.ylog and cloud(line.y):
            style, marker = "none", "."
        look = {"ms": 7, "mfc": "none"} if line.dashed else {"ms": 4}
        axes.plot(line.x, line.y, ls=style, color=colour, lw=1.8, marker=marker, label=plain(line.name), **look)
    places = {x for line in panel.lines for x in line.x if math.isfinite(x)}
    if panel.ticks:
        name_axis(axes.xaxis, panel.ticks, upright=longest_name(panel.ticks) * len(panel.ticks) > 60)
    else:
        axes.set_xlabel(plain(panel.xlabel), fontsize=10)
    if panel.whole and not panel.ticks:
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(places) == 1:
            axes.set_xticks(list(places))
    if panel.xlog:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    if panel.ylog:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        draw_zeros(axes, panel)
    elif panel.top:
        axes.set_ylim(0, max([panel.top, *(1.08 * y for line in panel.lines for y in line.y if math.isfinite(y))]))
    axes.grid(True, color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    if not any(
        math.isfinite(x) and math.isfinite(y) for line in panel.lines for x, y in zip(line.x, line.y, strict=True)
    ):
        say(axes, "no finite values")
    elif len(panel.lines) == 1 and not panel.guides:
        axes.set_ylabel(plain(panel.ylabel or panel.lines[0].name), fontsize=10)
    else:
        axes.set_ylabel(plain(panel.ylabel), fontsize=10)
        legend(axes, *ordered(axes, panel), fontsize=9 if len(panel.lines) <= LEGEND else 7)


def ordered(axes: Any, panel: CurvesPanel) -> tuple[Any, Any]:
    """The legend: lines first, then theory."""
    handles, names = axes.get_legend_handles_labels()
    first = len(panel.guides)
    return handles[first:] + handles[:first], names[first:] + names[:first]


def cloud(heights: Sequence[float]) -> bool:
    """Whether a line would be a thicket: on the logarithmic axis it goes up and down fifty times its own height."""
    logs = [math.log10(y) for y in heights if math.isfinite(y) and y > 0]
    travelled = sum(abs(b - a) for a, b in itertools.pairwise(logs))
    return len(logs) > 200 and travelled > 50 * (max(logs) - min(logs))


def draw_zeros(axes: Any, panel: CurvesPanel) -> None:
    """Zeros as dots below a logarithmic axis, marked 0, one row for each line."""
    shown = [(COLOURS[i % len(COLOURS)], line.zeros) for i, line in enumerate(panel.lines) if line.zeros]
    heights = [y for line in panel.lines for y in line.y if math.isfinite(y)]
    if not shown or not heights:
        return
    low, high = math.log10(min(heights)), math.log10(max(heights))
    row = max(0.25, 0.035 * (high - low))
    first = max(low - 3 * row, -290.0)
    for i, (colour, zeros) in enumerate(shown):
        axes.plot(zeros, [10 ** (first - i * row)] * len(zeros), "o", ms=3.5, color=colour, ls="")
    last = first - (len(shown) - 1) * row
    axes.axhline(10 ** (first + 1.2 * row), color=FAINT, lw=0.8, ls=(0, (1, 2)))
    axes.set_ylim(10 ** max(last - 1.2 * row, -305.0), 10 ** min(high + 1.5 * row, 300.0))
    ticks = [tick for tick in axes.yaxis.get_major_locator()() if tick >= 10 ** (first + 1.2 * row)]
    axes.set_yticks([10 ** ((first + last) / 2), *ticks], ["0", *map(power, ticks)])
    axes.set_yticks([], minor=True)
