"""A path over the filled contours of its function."""

from __future__ import annotations

import itertools
import math
from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, blank, legend, minus, plain, short
from calclab.figure.records import Arrow, ContoursPanel, Field, Points

STAR = "#F0E442"
LONG = 4.0  # times as long as the other, at most, is a side of a plane with equal axes
TANGLE = 12.0  # a path this many times longer than the window is drawn finer


def draw_contours(panel: ContoursPanel) -> Any:
    figure, axes = plane(panel.title, panel.note, panel.field)
    fill(figure, axes, panel.field)
    walk(axes, panel)
    name_points(axes)
    return figure


def plane(title: str, note: str, field: Field) -> tuple[Any, Any]:
    """A figure of the shape of the field, with a unit as long on either axis: what is perpendicular looks so. Where
    one side is many times the other that is not possible, and is said."""
    ratio = (field.y[-1] - field.y[0]) / (field.x[-1] - field.x[0])
    equal = 1 / LONG <= ratio <= LONG
    if not equal:
        note = "; ".join(filter(None, ("a unit is not as long on both axes", note)))
    wide = min(5.6, 5.2 / ratio) if equal else 5.6
    figure, axes = blank(title, note, max(5.6, wide + 1.5), max(2.2, wide * ratio) + 0.9 if equal else 5.6, equal=equal)
    if equal:
        axes.set_aspect("equal")
    return figure, axes


def fill(figure: Any, axes: Any, field: Field, scale: Any = None) -> None:
    """Filled contours and their scale (on axes of its own); grey where the function is not finite."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    colours = colormaps["viridis"]
    axes.set_facecolor("#CCCCCC")
    if len(field.levels) > 1:
        z = np.ma.masked_invalid(np.array(field.values))
        norm = BoundaryNorm(field.levels, colours.N)
        filled = axes.contourf(field.x, field.y, z, levels=field.levels, cmap=colours, norm=norm)
        axes.contour(field.x, field.y, z, levels=field.levels, colors="white", linewidths=0.3, alpha=0.5)
        scale = axes.inset_axes((1.02, 0, 0.035, 1)) if scale is None else scale  # as high as the axes are
        bar = figure.colorbar(filled, ticks=field.levels[:: max(1, len(field.levels) // 7)], cax=scale)
        bar.ax.set_yticklabels(list(map(minus, levels_in_words(list(bar.get_ticks())))), fontsize=8)
        bar.outline.set_visible(False)
        bar.ax.set_title("f", fontsize=9, color=INK)
    elif any(math.isfinite(v) for row in field.values for v in row):
        axes.set_facecolor(colours(0.5))  # constant
    if scale is not None and len(field.levels) < 2:
        scale.set_axis_off()
    axes.set_xlim(field.x[0], field.x[-1])
    axes.set_ylim(field.y[0], field.y[-1])


def walk(axes: Any, panel: ContoursPanel) -> None:
    """The path, its ends, and the minima."""
    from matplotlib.patheffects import Normal, withStroke

    known = [p for p in panel.path if math.isfinite(p[0])]
    if known:
        width = 0.7 if length(known, panel.field) > TANGLE else 1.6
        dots = "o" if len(known) <= 100 and width > 1 else None
        outline = [withStroke(linewidth=2 * width, foreground=INK), Normal()]
        xs, ys = zip(*panel.path, strict=True)
        axes.plot(xs, ys, "-", color="white", lw=width, marker=dots, ms=3.5, path_effects=outline, label="path")
        axes.plot(*known[0], "o", ms=9, color="white", mec=INK, mew=1.5, ls="", label="start", zorder=3)
        if panel.ends:
            axes.plot(*known[-1], "o", ms=7.5, color=COLOURS[1], mec="white", mew=1.3, ls="", label="end", zorder=3)
    if panel.minima:
        xs, ys = zip(*panel.minima, strict=True)
        axes.plot(xs, ys, "*", ms=19, color=STAR, mec=INK, mew=1.0, ls="", label="minimum", zorder=2.5)
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)


def arrow(axes: Any, shown: Arrow, colour: str, width: float = 2.4) -> Any:
    """An arrow over contours, as long as it says, and a line that stands for it in a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import Normal, withStroke

    (x, y), (dx, dy) = shown.start, shown.step
    look = {
        "arrowstyle": "-|>,head_width=0.32,head_length=0.62",
        "color": colour,
        "lw": width,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    drawn = axes.annotate("", (x + dx, y + dy), (x, y), arrowprops=look, zorder=3.5, annotation_clip=False)
    drawn.arrow_patch.set_path_effects([withStroke(linewidth=width + 1.6, foreground="white"), Normal()])
    drawn.set_in_layout(False)
    return Line2D([], [], color=colour, lw=width, label=plain(shown.name))


def name_points(axes: Any) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        legend(axes, handles, names)


def length(path: list[tuple[float, float]] | Points, field: Field) -> float:
    """Of the path within the window, in units of the window's sides."""
    wide, high = field.x[-1] - field.x[0], field.y[-1] - field.y[0]
    inside = [p for p in path if field.x[0] <= p[0] <= field.x[-1] and field.y[0] <= p[1] <= field.y[-1]]
    return sum(math.hypot((b[0] - a[0]) / wide, (b[1] - a[1]) / high) for a, b in itertools.pairwise(inside))


def levels_in_words(levels: list[float]) -> list[str]:
    """Two digits where they tell the levels apart."""
    coarse = [short(float(f"{level:.2g}")) for level in levels]
    return coarse if len(set(coarse)) == len(coarse) else list(map(short, levels))
