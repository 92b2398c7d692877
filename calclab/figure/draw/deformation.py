"""A grid and its image side by side, a circle and its ellipse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from calclab.figure.draw.canvas import COLOURS, FAINT, INK, bare, entitle, legend, plain, sheet
from calclab.figure.draw.contours import arrow
from calclab.figure.records import Arrow, DeformationPanel, Line

ALONG, UP = "#7FB2D6", "#E3B98A"  # lines along the first and along the second axis
RIGHT = (COLOURS[1], COLOURS[2])
WIDTH, HEIGHT, SIDE, LEFT = 10.4, 5.1, 4.0, (0.8, 6.0)  # inches: the sheet, both planes, where they begin


def draw_deformation(panel: DeformationPanel) -> Any:
    from matplotlib.lines import Line2D

    figure = sheet(WIDTH, HEIGHT, arranged=False)
    before, after = (figure.add_axes((left / WIDTH, 0.55 / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT)) for left in LEFT)
    circle = Line2D([], [], color=INK, lw=2.0, label="circle")
    handles = lattice(before, panel.grid, panel, panel.circle, panel.right)
    legend(before, [circle, *handles], ["circle", *(handle.get_label() for handle in handles)])
    handles = lattice(after, panel.image, panel, panel.circle_image, panel.left)
    (ellipse,) = after.plot(panel.ellipse.x, panel.ellipse.y, color=COLOURS[3], lw=1.8, ls=(0, (4, 2)), zorder=2.4)
    circle = Line2D([], [], color=INK, lw=2.0)
    named = ["its image", "by J: an ellipse", *(handle.get_label() for handle in handles)]
    legend(after, [circle, ellipse, *handles], named)
    for axes, names in ((before, panel.axes), (after, panel.images)):
        bare(axes)
        axes.set_xlabel(plain(names[0]), fontsize=10)
        axes.set_ylabel(plain(names[1]), fontsize=10)
        axes.locator_params(nbins=6)
    entitle(figure, f"{panel.title}\n{panel.area}", panel.note)
    square(before, panel.grid)
    square(after, (*panel.image, panel.circle_image, panel.ellipse), panel.left[0].start, panel.reach)
    return figure


def lattice(
    axes: Any, lines: tuple[Line, ...], panel: DeformationPanel, circle: Line, arrows: tuple[Arrow, ...]
) -> list[Any]:
    """The lines of a grid, a closed curve, and arrows; what stands for these in a legend."""
    for i, line in enumerate(lines):
        axes.plot(line.x, line.y, color=ALONG if i < panel.along else UP, lw=1.1, zorder=1.5)
    axes.fill(circle.x, circle.y, color="#888888", alpha=0.15, lw=0, zorder=1.6)
    axes.plot(circle.x, circle.y, color=INK, lw=2.0, zorder=2.3)
    shown = [arrow(axes, one, colour, 2.0) for one, colour in zip(arrows, RIGHT, strict=True)]
    axes.plot(*arrows[0].start, "o", ms=6, color="white", mec=FAINT, mew=1.3, zorder=4)
    return shown


def square(axes: Any, lines: Sequence[Line], centre: tuple[float, float] = (0.0, 0.0), reach: float = 0.0) -> None:
    """A window as wide as high, with a unit as long on either axis, around all lines, as far as ``reach`` lets it."""
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    near = [p for p in points if not reach or max(abs(p[0] - centre[0]), abs(p[1] - centre[1])) <= reach]
    xs, ys = ([v for v in part if math.isfinite(v)] for part in zip(*near, strict=True))
    half = 0.54 * max(max(xs) - min(xs), max(ys) - min(ys), 1e-300)
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y - half, y + half)
    axes.set_box_aspect(1)
