"""Curves with their tangents: one with secants and enlargements below it, or slices beside the contours."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import COLOURS, FAINT, INK, bare, entitle, legend, plain, sheet
from calclab.figure.draw.contours import arrow, fill
from calclab.figure.records import GradientPanel, TangentPanel, View

SHADES = ("#E69F00", "#C28700", "#8C6200")  # of secants that close in
CURVE, TOUCH = COLOURS[0], COLOURS[1]
ACROSS = 4  # slices in a row


def draw_tangent(panel: TangentPanel) -> Any:
    figure = sheet(8.6, 6.4 if panel.zooms else 4.4)
    places: Any = figure.add_gridspec(2, len(panel.zooms), height_ratios=(2.6, 1)) if panel.zooms else None
    axes = figure.add_subplot(places[0, :]) if places is not None else figure.add_subplot()
    entitle(figure, panel.title, panel.note)
    look(axes, panel.view)
    handles, names = axes.get_legend_handles_labels()
    legend(axes, handles, names)
    for i, zoom in enumerate(panel.zooms):
        frame(axes, zoom)
        axes = figure.add_subplot(places[1, i])
        look(axes, zoom)
        axes.set_title(plain(zoom.title), loc="left", fontsize=9, color=INK)
        axes.set(xlabel="", ylabel="", xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(visible=True, color=FAINT)
    return figure


def look(axes: Any, view: View) -> None:
    """A curve with what touches and cuts it, in its window."""
    bare(axes)
    axes.axhline(0, color="#BBBBBB", lw=0.8, zorder=0.6)
    axes.plot(view.curve.x, view.curve.y, color=CURVE, lw=3.0, label=view.axes[1], zorder=2.2)
    for line in view.tangents:
        axes.plot(line.x, line.y, color=TOUCH, lw=1.6, label=plain(line.name), zorder=2.3)
    for shade, secant in zip(SHADES, view.secants, strict=False):
        axes.plot(secant.x, secant.y, color=shade, lw=1.1, ls=(0, (6, 2)), label=plain(secant.name))
    axes.plot(*view.point, "o", ms=7, color="white", mec=INK, mew=1.4, zorder=3)
    axes.set_xlim(view.across)
    axes.set_ylim(view.upward)
    axes.set_xlabel(plain(view.axes[0]), fontsize=10)
    axes.set_ylabel(plain(view.axes[1]), fontsize=10)
    axes.grid(True, color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)


def frame(axes: Any, zoom: View) -> None:
    """The window of an enlargement, drawn where it lies."""
    from matplotlib.patches import Rectangle

    (left, right), (low, high) = zoom.across, zoom.upward
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec=FAINT, lw=1.0, zorder=2.6))


def draw_gradient(panel: GradientPanel) -> Any:
    if panel.field is None:
        return draw_slices(panel)
    figure = sheet(10.8, 5.6)
    places = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    entitle(figure, panel.title, panel.note)
    axes = figure.add_subplot(places[:, 0])
    fill(figure, axes, panel.field)
    axes.set_aspect("equal")
    x, y = panel.slices[0].point[0], panel.slices[1].point[0]
    through(axes, panel)
    for place, colour in ((axes.axhline(y), COLOURS[5]), (axes.axvline(x), COLOURS[3])):
        place.set(color=colour, lw=1.5, ls=(0, (4, 2)))
    shown = []
    if panel.gradient is not None:
        shown.append(arrow(axes, panel.gradient, TOUCH))
    axes.plot(x, y, "o", ms=8, color="white", mec=INK, mew=1.4, zorder=4)
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    legend(axes, shown, [handle.get_label() for handle in shown])
    for i, (slice_, colour) in enumerate(zip(panel.slices, (COLOURS[5], COLOURS[3]), strict=True)):
        axes = figure.add_subplot(places[i, 1])
        look(axes, slice_)
        axes.get_lines()[1].set_color(colour)  # that of the line over the contours
        handles, names = axes.get_legend_handles_labels()
        legend(axes, handles, [f"f {slice_.title}", *names[1:]])
    return figure


def through(axes: Any, panel: GradientPanel) -> None:
    """The contour on which the point lies."""
    import numpy as np

    field = panel.field
    assert field is not None, "of two variables"
    z = np.ma.masked_invalid(np.array(field.values))
    if z.count() and z.min() < panel.height < z.max():
        axes.contour(field.x, field.y, z, levels=[panel.height], colors="white", linewidths=2.0)


def draw_slices(panel: GradientPanel) -> Any:
    count = len(panel.slices)
    columns = min(count, ACROSS)
    rows = -(-count // columns)
    figure = sheet(max(6.4, 3.3 * columns), 3.2 * rows if count > 1 else 4.2)
    entitle(figure, panel.title, panel.note)
    for i, slice_ in enumerate(panel.slices):
        axes = figure.add_subplot(rows, columns, i + 1)
        look(axes, slice_)
        handles, names = axes.get_legend_handles_labels()
        if count == 1:
            legend(axes, handles, names)
        else:
            axes.set_title(", ".join(names[1:]).removeprefix("tangent: "), loc="left", fontsize=9.5, color=TOUCH)
        axes.locator_params(axis="x", nbins=5)
    return figure
