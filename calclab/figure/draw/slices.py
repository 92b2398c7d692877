"""Small panels side by side, and contours of a surface with those of a model over them."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import FAINT, INK, entitle, legend, plain, sheet
from calclab.figure.draw.contours import fill, plane
from calclab.figure.draw.curves import plot
from calclab.figure.records import MultiplesPanel, SurfacePanel

ACROSS = 4  # panels in a row


def draw_multiples(panel: MultiplesPanel) -> Any:
    count = len(panel.panels)
    columns = min(count, ACROSS)
    rows = -(-count // columns)
    figure = sheet(max(5.0, 3.3 * columns), 3.1 * rows + 0.7)
    entitle(figure, panel.title, panel.note)
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
        shown: Any = axes.get_legend()
        if shown is not None:
            shown.remove()
        if i == 0 and len(part.lines) > 1:
            handles, names = axes.get_legend_handles_labels()
            figure.legend(handles, names, fontsize=9, frameon=False, loc="outside upper right", ncols=len(names))
    return figure


def draw_surface(panel: SurfacePanel) -> Any:
    """The model's lines are dashed and white, at the levels of what they lie over."""
    import numpy as np
    from matplotlib.lines import Line2D

    figure, axes = plane(panel.title, panel.note, panel.field)
    fill(figure, axes, panel.field)
    z = np.ma.masked_invalid(np.array(panel.model.values))
    if len(panel.field.levels) > 1 and z.count():
        axes.contour(panel.model.x, panel.model.y, z, levels=panel.field.levels, colors="white", linewidths=1.0,
                     linestyles="dashed")  # fmt: skip
    (here,) = axes.plot(0, 0, "o", ms=7, color="white", mec=INK, mew=1.3, ls="")
    model = Line2D([], [], color=FAINT, lw=1.2, ls="--")
    legend(axes, [here, model], ["here", "quadratic model"])
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    return figure
