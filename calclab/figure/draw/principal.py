"""A path of many variables: contours on its principal plane, and beside them what the plane does not tell."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, entitle, plain, sheet, short
from calclab.figure.draw.contours import STAR, fill, name_points, walk
from calclab.figure.draw.curves import plot
from calclab.figure.records import SHAPE, CurvesPanel, PlanePanel

WIDTH, HEIGHT = 11.0, 5.9  # inches
HIGH = 0.505 * WIDTH * SHAPE / HEIGHT
PLANE, SCALE = (0.075, 0.115, 0.505, HIGH), (0.59, 0.115, 0.013, HIGH)  # left, bottom, width, height, in the figure
LOSSES, OFF = (0.695, 0.575, 0.29, 0.26), (0.695, 0.115, 0.29, 0.31)


def draw_plane(panel: PlanePanel) -> Any:
    """Places are fixed: to let matplotlib find them costs as much as the drawing."""
    figure = sheet(WIDTH, HEIGHT, arranged=False)
    plane, losses, off = (figure.add_axes(place) for place in (PLANE, LOSSES, OFF))
    for axes in (plane, losses, off):
        axes.tick_params(labelsize=9, colors=INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    seen = panel.contours
    fill(figure, plane, seen.field, figure.add_axes(SCALE))
    walk(plane, seen)
    if panel.beside:
        xs, ys = zip(*panel.beside, strict=True)
        name = f"minimum, {reach(panel.distances)} off the plane"
        plane.plot(xs, ys, "*", ms=19, mfc="none", mec=INK, mew=3.2, ls="", zorder=2.4)
        plane.plot(xs, ys, "*", ms=19, mfc="none", mec=STAR, mew=1.6, ls="", label=name, zorder=2.5)
    name_points(plane)
    aside(losses, panel.losses)
    aside(off, panel.off)
    if panel.warning:
        figure.text(0.012, 0.985, plain(panel.warning), va="top", fontsize=9, color=COLOURS[1])
    entitle(figure, seen.title, seen.note)
    return figure


def aside(axes: Any, panel: CurvesPanel) -> None:
    plot(axes, panel)
    title = f"{panel.title} ({panel.note})" if panel.note else panel.title
    axes.set_title(plain(title), loc="left", fontsize=9.5, color=INK, pad=22 if axes.get_legend() else 6)
    axes.set_ylabel("")
    axes.xaxis.label.set_size(9)


def reach(distances: tuple[float, ...]) -> str:
    low, high = short(float(f"{min(distances):.2g}")), short(float(f"{max(distances):.2g}"))
    return low if low == high else f"{low} to {high}"
