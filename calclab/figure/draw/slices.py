"""Small panels side by side, and contours of a surface with those of a model over them."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import FAINT, INK, blank, plain, sheet
from calclab.figure.draw.contours import fill
from calclab.figure.draw.curves import plot
from calclab.figure.records import MultiplesPanel, SurfacePanel

ACROSS = 4  # panels in a row


def draw_multiples(panel: MultiplesPanel) -> Any:
    count = len(panel.panels)
    columns = min(count, ACROSS)
    rows = -(-count // columns)
    figure = sheet(max(5.0, 3.3 * columns), 3.1 * rows + 0.7)
    figure.suptitle(plain(panel.title), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    for i, part in enumerate(panel.panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        plot(axes, part)
        for line in axes.get_lines():
            line.set_marker("")
        axes.set_title(plain(part.title), loc="left", fontsize=9.5, color=INK)
        axes.tick_params(labelsize=8, colors=INK)
        axes.locator_params(axis="x", nbins=5)
        axes.axvline(0, color=FAINT, lw=0.8, ls=(0, (1, 2)), zorder=0.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        legend: Any = axes.get_legend()
        if legend is not None:
            legend.remove()
        if i == 0 and len(part.lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    if panel.note:
        figure.supxlabel(plain(panel.note), fontsize=8, color=FAINT, x=0.99, ha="right")
    return figure


def draw_surface(panel: SurfacePanel) -> Any:
    """The model's lines are dashed and white, at the levels of what they lie over."""
    import numpy as np
    from matplotlib.lines import Line2D

    figure, axes = blank(panel.title, panel.note, 7.0, 5.6)
    fill(figure, axes, panel.field)
    z = np.ma.masked_invalid(np.array(panel.model.values))
    if len(panel.field.levels) > 1 and z.count():
        axes.contour(panel.model.x, panel.model.y, z, levels=panel.field.levels, colors="white", linewidths=1.0,
                     linestyles="dashed")  # fmt: skip
    axes.plot(0, 0, "o", ms=7, color="white", mec=INK, mew=1.3, ls="")
    model = Line2D([], [], color="white", lw=1.2, ls="--", label="quadratic model")
    axes.legend(handles=[model], fontsize=9, facecolor="#777777", labelcolor="white", framealpha=0.9, edgecolor="none")
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    return figure
