"""A walk in one variable on the curve of its function."""

from __future__ import annotations

import math
from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, blank, legend, plain
from calclab.figure.draw.contours import STAR
from calclab.figure.records import WalkPanel


def draw_walk(panel: WalkPanel) -> Any:
    """Chords from position to position; the curve sets the height of the window, with what was visited."""
    figure, axes = blank(panel.title, panel.note, 7.4, 4.8)
    axes.plot(panel.curve.x, panel.curve.y, color=COLOURS[0], lw=2.4, label="f")
    seen = [(x, y) for x, y in panel.path if math.isfinite(x) and math.isfinite(y)]
    xs, ys = zip(*panel.path, strict=True)
    size = 5.5 if len(seen) <= 40 else 3.5
    axes.plot(xs, ys, "-o", color=COLOURS[1], lw=1.1, ms=size, mfc="white", mew=1.2, label="path", zorder=2.5)
    if seen:
        axes.plot(*seen[0], "o", ms=9.5, color="white", mec=INK, mew=1.6, ls="", label="start", zorder=3)
        if panel.ends:
            axes.plot(*seen[-1], "o", ms=8, color=COLOURS[1], mec="white", mew=1.3, ls="", label="end", zorder=3.2)
    if panel.minima:
        axes.plot(*zip(*panel.minima, strict=True), "*", ms=18, color=STAR, mec=INK, mew=1.0, ls="", label="minimum",
                  zorder=2.8)  # fmt: skip
    axes.set_xlim(panel.curve.x[0], panel.curve.x[-1])
    axes.set_xlabel(plain(panel.axis), fontsize=10)
    axes.set_ylabel("f", fontsize=10)
    axes.grid(True, color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)
    legend(axes, *axes.get_legend_handles_labels())
    return figure
