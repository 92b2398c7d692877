"""Rates over learning rate and momentum, measured beside predicted; the line at 1 is the edge of what is stable."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, bare, entitle, minus, sheet, short
from calclab.figure.draw.contours import STAR
from calclab.figure.records import RatesPanel


def draw_rates(panel: RatesPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps

    figure = sheet(9.4, 4.3)
    entitle(figure, panel.title, panel.note)
    colours = colormaps["viridis"].with_extremes(over="#D9D9D9")
    parts: list[Any] = []
    shown: Any = None
    for i, (name, table) in enumerate((("measured", panel.measured), ("predicted", panel.predicted))):
        axes = figure.add_subplot(1, 2, i + 1, sharey=parts[0] if parts else None)
        parts.append(axes)
        bare(axes)
        z = np.array(table, dtype=float)
        z = np.where(np.isfinite(z), z, 9.0)
        shown = axes.pcolormesh(panel.lrs, panel.momenta, z, cmap=colours, vmin=0.0, vmax=1.0, shading="nearest",
                                rasterized=True)  # fmt: skip
        axes.contour(panel.lrs, panel.momenta, z, levels=[1.0], colors=[INK], linewidths=1.8)
        axes.set_xlabel("learning rate", fontsize=10)
        axes.set_title(name, fontsize=10, color=INK, loc="left")
        axes.plot(*panel.best, "*", ms=15, color=STAR, mec=INK, mew=1.0, ls="", label="best", clip_on=False)
        inside = panel.lrs[0] <= panel.here[0] <= panel.lrs[-1]
        if inside:
            axes.plot(*panel.here, "o", ms=8, color=COLOURS[1], mec="white", mew=1.3, ls="", label="this run")
        axes.set_xlim(0, panel.lrs[-1])
        axes.set_ylim(0, panel.momenta[-1])
    parts[0].set_ylabel("momentum", fontsize=10)
    handles, names = parts[1].get_legend_handles_labels()
    best = f"best: lr {minus(short(panel.best[0]))}, momentum {minus(short(panel.best[1]))}"
    names = [best if name == "best" else name for name in names]
    figure.legend(handles, names, fontsize=9, frameon=False, loc="outside lower left", ncols=2)
    bar: Any = figure.colorbar(shown, ax=parts, pad=0.02, extend="max")
    bar.set_label("rate: factor per step; black line: 1, grey: unstable", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure
