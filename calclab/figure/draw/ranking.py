"""A ranking: bars to the side to which a feature works, intervals over them, and those that may lead shaded."""

from __future__ import annotations

import math
from typing import Any

from calclab.figure.draw.canvas import COLOURS, FAINT, INK, blank, clip, legend, minus, plain, short
from calclab.figure.records import RankingPanel

UP, DOWN, EITHER = COLOURS[1], COLOURS[0], "#9AA3AB"
SHADE = "#F1E9C9"
TALL = 3.0  # inches without the title, at least: half as high as wide, it is read on a phone without scrolling


def draw_ranking(panel: RankingPanel) -> Any:
    from matplotlib.patches import Patch

    count = len(panel.values)
    figure, axes = blank(panel.title, panel.note, 7.4, min(11.0, max(TALL, 0.3 * count + 1.1)))
    if panel.leaders:
        axes.axhspan(-0.5, panel.leaders - 0.5, color=SHADE, lw=0, zorder=0)
    if panel.ranks:
        axes.text(1.01, 1.0, "rank", transform=axes.transAxes, fontsize=8.5, color=FAINT, va="bottom")
    for i, ranks in enumerate(panel.ranks):
        axes.text(1.01, i, ranks, transform=axes.get_yaxis_transform(), fontsize=8.5, color=FAINT, va="center")
    colours = [UP if way > 0 else DOWN if way < 0 else EITHER for way in panel.ways]
    values = [value if math.isfinite(value) else 0.0 for value in panel.values]
    axes.barh(range(count), values, color=colours, height=0.66, zorder=2)
    for i, (low, high) in enumerate(zip(panel.low, panel.high, strict=True)):
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [i, i], color=INK, lw=1.3, marker="|", ms=6, zorder=3)
        ends = [end for end in (panel.values[i], low, high) if math.isfinite(end)] or [0.0]
        right = panel.ways[i] >= 0
        at = max(*ends, 0.0) if right else min(*ends, 0.0)
        axes.annotate(minus(short(panel.values[i])), (at, i), (5 if right else -5, 0), textcoords="offset points",
                      va="center", ha="left" if right else "right", fontsize=9, color=INK, zorder=4)  # fmt: skip
    axes.axvline(0, color=INK, lw=0.8, zorder=3)
    axes.set_yticks(range(count), [clip(name) for name in panel.names], fontsize=9)
    axes.set_ylim(count - 0.4, -0.6)
    axes.margins(x=0.16)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x", color="#DDDDDD", lw=0.6, zorder=0.5)
    axes.set_xlabel(plain(panel.axis), fontsize=10)
    known = {1: (UP, panel.towards[0]), -1: (DOWN, panel.towards[1]), 0: (EITHER, "either way, or not told")}
    shown = [known[way] for way in (1, -1, 0) if way in panel.ways]
    if any(panel.ways):
        legend(axes, [Patch(color=colour) for colour, _ in shown], [plain(name) for _, name in shown])
    return figure
