"""Heat maps: matrices, with their numbers written into them while they are small."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import INK, blank, longest_name, minus, name_axis, say, short
from calclab.figure.records import HeatmapPanel

ANNOTATED = 12  # rows and columns of a matrix up to which its numbers are written into it


def draw_heatmap(panel: HeatmapPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps

    rows, columns = len(panel.rows), len(panel.columns)
    noted = 0 < rows <= ANNOTATED and 0 < columns <= ANNOTATED
    cell = 0.85 if noted else 0.3
    longest = max((len(name) for name in panel.rows), default=0)
    width = min(13.0, max(5.0, cell * columns + 2.2 + 0.08 * min(longest, 30)))
    figure, axes = blank(panel.title, panel.note, width, min(11.0, max(3.4, 0.62 * cell * rows + 1.8)))
    if not rows or not columns:
        say(axes, "an empty matrix")
        return figure
    matrix = np.ma.masked_invalid(np.array(panel.matrix, dtype=float))
    colours = colormaps["RdBu_r"].with_extremes(bad="#CCCCCC")
    shown = axes.imshow(matrix, cmap=colours, vmin=-panel.limit, vmax=panel.limit, aspect="auto", interpolation="none")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    name_axis(axes.xaxis, panel.columns, upright=longest_name(panel.columns) * columns * 0.085 > width - 2)
    name_axis(axes.yaxis, panel.rows, upright=False)
    if noted:
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=1.5)
        axes.tick_params(which="minor", length=0)
        size = 10 if columns <= 8 else 8
        for i, row in enumerate(panel.matrix):
            for j, value in enumerate(row):
                dark = abs(value) > 0.6 * panel.limit
                axes.text(
                    j, i, minus(short(value)), ha="center", va="center", fontsize=size, color="white" if dark else INK
                )
    bar = figure.colorbar(shown, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    if matrix.count() and matrix.min() >= 0:
        bar.ax.set_ylim(0, panel.limit)  # white stays zero, without a blue half that nothing has
    return figure
