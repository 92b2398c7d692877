"""Partial dependence: panels side by side, on one vertical axis."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import bare, entitle, plain, sheet
from calclab.figure.draw.curves import plot
from calclab.figure.records import DependencePanel


def draw_dependence(panel: DependencePanel) -> Any:
    count = len(panel.panels)
    across = min(count, 2)
    down = -(-count // across)
    figure = sheet(max(4.6, 3.7 * across), 2.7 * down + 0.3)
    entitle(figure, panel.title, panel.note)
    first: Any = None
    for i, part in enumerate(panel.panels):
        axes = figure.add_subplot(down, across, i + 1, sharey=first)
        first = first or axes
        plot(axes, part)
        bare(axes)
        shown: Any = axes.get_legend()
        if shown is not None:
            shown.remove()
        axes.set_xlabel(plain(part.xlabel), fontsize=10)
        axes.set_ylabel(plain(panel.axis) if i % across == 0 else "", fontsize=9.5)
    handles, names = first.get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, names, fontsize=9, frameon=False, loc="outside upper right", ncols=len(names))
    elif names and names[0]:
        figure.axes[0].set_ylabel(plain(f"{panel.axis}: {names[0]}"), fontsize=9.5)
    return figure
