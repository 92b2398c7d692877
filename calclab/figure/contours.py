"""A path over the filled contours of its function."""

from __future__ import annotations

import math
from typing import Any

from calclab.figure.canvas import COLOURS, INK, blank, minus, plain, short
from calclab.figure.panels import ContoursPanel


def draw_contours(panel: ContoursPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patheffects import Normal, withStroke

    figure, axes = blank(panel.title, panel.note, 7.0, 5.6)
    field = panel.field
    colours = colormaps["viridis"]
    axes.set_facecolor("#CCCCCC")  # where the function is not finite
    if len(field.levels) > 1:
        z = np.ma.masked_invalid(np.array(field.values))
        norm = BoundaryNorm(field.levels, colours.N)
        filled = axes.contourf(field.x, field.y, z, levels=field.levels, cmap=colours, norm=norm)
        axes.contour(field.x, field.y, z, levels=field.levels, colors="white", linewidths=0.3, alpha=0.5)
        bar = figure.colorbar(filled, ax=axes, pad=0.02, ticks=field.levels[:: max(1, len(field.levels) // 7)])
        bar.ax.set_yticklabels(list(map(minus, levels_in_words(list(bar.get_ticks())))), fontsize=8)
        bar.outline.set_visible(False)
    elif any(math.isfinite(v) for row in field.values for v in row):
        axes.set_facecolor(colours(0.5))  # constant
    outline = [withStroke(linewidth=3.2, foreground=INK), Normal()]
    if panel.path:
        xs, ys = zip(*panel.path, strict=True)
        dots = "o" if len(xs) <= 100 else None
        axes.plot(xs, ys, "-", color="white", lw=1.6, marker=dots, ms=3.5, path_effects=outline, label="path")
        known = [p for p in panel.path if math.isfinite(p[0])]
        if known:
            axes.plot(*known[0], "o", ms=9, color="white", mec=INK, mew=1.5, ls="", label="start")
            axes.plot(*known[-1], "o", ms=7.5, color=COLOURS[1], mec="white", mew=1.3, ls="", label="end", zorder=3)
    if panel.minima:
        xs, ys = zip(*panel.minima, strict=True)
        axes.plot(xs, ys, "*", ms=19, color="#F0E442", mec=INK, mew=1.0, ls="", label="minimum", zorder=2.5)
    axes.set_xlim(field.x[0], field.x[-1])
    axes.set_ylim(field.y[0], field.y[-1])
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    if panel.path or panel.minima:
        legend = axes.legend(fontsize=9, facecolor="#F7F7F7", framealpha=0.9, edgecolor="none")
        for handle in legend.get_lines():
            handle.set_markersize(min(handle.get_markersize(), 9))
    return figure


def levels_in_words(levels: list[float]) -> list[str]:
    """Two digits where they tell the levels apart."""
    coarse = [short(float(f"{level:.2g}")) for level in levels]
    return coarse if len(set(coarse)) == len(coarse) else list(map(short, levels))
