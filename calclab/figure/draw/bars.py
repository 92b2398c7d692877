"""Bars, each with its name and number; dots on lines where the axis is logarithmic."""

from __future__ import annotations

import math
from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, blank, clip, log_ticks, minus, say, short
from calclab.figure.records import BarsPanel


def draw_bars(panel: BarsPanel) -> Any:
    count = len(panel.values)
    named = len(panel.names) == count
    figure, axes = blank(panel.title, panel.note, 7.0, min(9.0, max(2.6, 0.28 * count + 1.2)) if named else 4.6)
    if not any(math.isfinite(value) for value in panel.values):
        say(axes, "no finite values")
        return figure
    colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in panel.values]
    heights = [value if math.isfinite(value) else 0.0 for value in panel.values]
    if not named:
        axes.bar(range(count), heights, color=colours, width=1.0 if count > 100 else 0.8)
        axes.axhline(0, color=INK, lw=0.8)
        axes.grid(True, axis="y", color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("index", fontsize=10)
        return figure
    if panel.log:
        draw_dots(axes, panel)
        finish_bars(axes, panel)
        return figure
    drawn = axes.barh(range(count), heights, color=colours, height=0.72)
    if panel.low and panel.high:
        draw_intervals(axes, panel)
    else:
        axes.bar_label(drawn, [minus(short(value)) for value in panel.values], padding=4, fontsize=9, color=INK)
    axes.axvline(0, color=INK, lw=0.8)
    axes.margins(x=0.14)
    finish_bars(axes, panel)
    return figure


def draw_intervals(axes: Any, panel: BarsPanel) -> None:
    """A line from end to end over each bar, and the number right of both."""
    for i, (value, low, high) in enumerate(zip(panel.values, panel.low, panel.high, strict=True)):
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [i, i], color=INK, lw=1.4, marker="|", ms=7)
        right = max(end for end in (value, high, 0.0) if math.isfinite(end))
        text = minus(short(value))
        axes.annotate(text, (right, i), (6, 0), textcoords="offset points", va="center", fontsize=9, color=INK)


def draw_dots(axes: Any, panel: BarsPanel) -> None:
    """Dots on lines: a bar has no foot on a logarithmic axis."""
    low, high = math.log10(min(panel.values)), math.log10(max(panel.values))
    left = 10 ** (low - 0.06 * (high - low))
    axes.set_xscale("log")
    axes.set_xlim(left, 10 ** (high + 0.14 * (high - low)))
    log_ticks(axes.xaxis)
    rows = range(len(panel.values))
    axes.hlines(rows, left, panel.values, color=COLOURS[0], lw=2.4)
    axes.plot(panel.values, rows, "o", ms=7, color=COLOURS[0])
    for i, value in enumerate(panel.values):
        text = minus(short(value))
        axes.annotate(text, (value, i), (7, 0), textcoords="offset points", va="center", fontsize=9, color=INK)


def finish_bars(axes: Any, panel: BarsPanel) -> None:
    """Names down the left side, the first on top."""
    axes.set_yticks(range(len(panel.names)), [clip(name) for name in panel.names], fontsize=9)
    axes.set_ylim(len(panel.names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x", color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
