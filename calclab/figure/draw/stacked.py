"""Curves of several quantities below each other, over the same steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calclab.figure.draw.canvas import bare, entitle, plain, sheet
from calclab.figure.draw.curves import plot
from calclab.figure.records import CurvesPanel

WIDTH = 7.0  # inches


def draw_stacked(title: str, names: Mapping[str, str], panels: Sequence[CurvesPanel], note: str = "") -> Any:
    """One legend serves all, between the title and the first: ``names`` says what a line of a name is."""
    across = max(1, int(WIDTH / (0.7 + 0.075 * max(map(len, names.values())))))
    figure = sheet(WIDTH, 2.9 * len(panels) + 0.24 * -(-len(names) // across))
    entitle(figure, title, note)
    handles: dict[str, Any] = {}
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        bare(axes)
        plot(axes, panel)
        axes.set_ylabel(plain(panel.title), fontsize=10)
        if (legend := axes.get_legend()) is not None:
            legend.remove()
        for handle, line in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(line, handle)
    shown = [line for line in names if line in handles]
    figure.axes[0].legend(
        [handles[line] for line in shown],
        [plain(names[line]) for line in shown],
        fontsize=9,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=across,
    )
    return figure
