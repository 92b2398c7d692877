"""A sweep: the objective over each knob, what ran away above the others, theory's limit as a line."""

from __future__ import annotations

import math
from typing import Any

from calclab.figure.draw.canvas import (
    COLOURS,
    FAINT,
    INK,
    bare,
    clip,
    entitle,
    log_ticks,
    minus,
    plain,
    power,
    sheet,
    short,
    ticks_apart,
)
from calclab.figure.records import Group, KnobPanel, Points, SweepPanel

BELOW = 4  # panels that stand below each other, which can be read on a phone too
MANY = 60  # dots from which they are small and pale
GREY = "#555555"
LIMIT = "theory's limit at the start (gd: 2/λmax)"


def draw_sweep(panel: SweepPanel) -> Any:
    count = len(panel.knobs)
    across = 1 if count <= BELOW else 2
    down = -(-count // across)
    heights = [
        max(height(panel.knobs[i]) for i in range(row * across, min(count, (row + 1) * across))) for row in range(down)
    ]
    figure = sheet(7.0 if across == 1 else 10.5, sum(heights))
    entitle(figure, panel.title, panel.note)
    grid = figure.add_gridspec(down, across, height_ratios=heights)
    for i, knob in enumerate(panel.knobs):
        axes = figure.add_subplot(grid[i // across, i % across])
        bare(axes)
        axes.grid(True, color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
        star = None if panel.star is None else (panel.star[0][i], panel.star[1])
        (draw_words if knob.names else draw_numbers)(axes, panel, knob, star)
    return figure


def height(knob: KnobPanel) -> float:
    """In inches."""
    return 0.28 * max(3, len(knob.names)) + 0.9 if knob.names else 3.3 + 0.2 * (len(knob.groups) // 3)


def draw_numbers(axes: Any, panel: SweepPanel, knob: KnobPanel, star: tuple[float, float] | None) -> None:
    if knob.log:
        axes.set_xscale("log")
    if panel.log:
        axes.set_yscale("log")
    many = sum(len(group.dots) for group in knob.groups) > MANY
    for i, group in enumerate(knob.groups):
        colour = COLOURS[i % len(COLOURS)] if len(knob.groups) > 1 else COLOURS[0]
        label = {"label": clip(group.name)} if group.name else {}
        if group.best:
            axes.plot(*coordinates(group.best, panel), color=colour, lw=1.8, zorder=3, **label)
            label = {}
        if group.dots:
            size, shade = (9, 0.55) if many else (26, 0.9)
            axes.scatter(*coordinates(group.dots, panel), s=size, alpha=shade, color=colour, lw=0, zorder=3.1, **label)
            label = {}
        if label:  # all of it ran away
            axes.plot([], [], color=colour, lw=1.8, **label)
    draw_limits(axes, knob)
    if star is not None:
        draw_star(axes, (star[0], star[1] or panel.floor), star[1])
    draw_lost(axes, panel, [(group, COLOURS[i % len(COLOURS)]) for i, group in enumerate(knob.groups)])
    axes.set_xlabel(plain(knob.knob), fontsize=10)
    axes.set_ylabel(plain(panel.objective), fontsize=10)
    if knob.log:
        log_ticks(axes.xaxis)
    mark(axes.yaxis, panel)
    legend(axes)


def legend(axes: Any) -> None:
    """Above the axes, where it covers nothing at any width."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = 3 if max(map(len, names)) < 24 else 2
        axes.legend(handles, names, fontsize=8.5, frameon=False, ncols=columns, loc="lower left",
                    bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, columnspacing=1.4)  # fmt: skip


def draw_lost(axes: Any, panel: SweepPanel, groups: list[tuple[Group, str]]) -> None:
    """Crosses in rows above all that has an objective, a row for each colour."""
    shown = [(group, colour) for group, colour in groups if group.lost]
    if not shown:
        return
    low, high = axes.get_ylim()
    first, last = (math.log10(low), math.log10(high)) if panel.log else (low, high)
    step = 0.055 * (last - first)

    def above(rows: float) -> float:
        y = last + rows * step
        return 10 ** min(y, 300.0) if panel.log else y

    axes.axhline(above(0), color=FAINT, lw=0.8, ls=(0, (1, 2)))
    for i, (group, colour) in enumerate(shown):
        row = above(i + 0.8)
        label = {"label": f"{sum(len(group.lost) for group, _ in shown)} diverged"} if i == 0 else {}
        look = {"marker": "|", "s": 30, "lw": 0.6} if len(group.lost) > MANY else {"marker": "x", "s": 24, "lw": 1.2}
        axes.scatter(group.lost, [row] * len(group.lost), color=colour, zorder=3, **look, **label)
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    axes.set_ylim(low, above(len(shown) + 0.4))
    axes.set_yticks(ticks)  # the rows are no values


def draw_limits(axes: Any, knob: KnobPanel) -> None:
    """A dashed line where steps become unstable; a pale span where that depends on other knobs."""
    known = {group.limits: COLOURS[i % len(COLOURS)] for i, group in enumerate(knob.groups) if group.limits}
    shared = len(known) == 1 and len(knob.groups) == 1
    for i, ((low, high), colour) in enumerate(known.items()):
        colour = GREY if shared else colour
        label = {"label": LIMIT} if i == 0 else {}
        if high <= 1.0001 * low:
            axes.axvline(low, color=colour, lw=1.3, ls=(0, (5, 3)), zorder=2, **label)
        else:
            axes.axvspan(low, high, color=colour, alpha=0.12, lw=0, zorder=1, **label)


def draw_star(axes: Any, at: tuple[float, float], objective: float) -> None:
    if all(map(math.isfinite, at)):
        name = f"best: {minus(short(objective))}"
        axes.scatter(*at, marker="*", s=170, color="#F0C000", edgecolor=INK, lw=0.8, zorder=4, label=name)


def coordinates(points: Points, panel: SweepPanel) -> tuple[list[float], list[float]]:
    """Values and objectives, zeros where they can be seen."""
    return [x for x, _ in points], [y or panel.floor for _, y in points]


def mark(axis: Any, panel: SweepPanel) -> None:
    """Numbers along the axis of the objective; where it is logarithmic and there are zeros, its lowest tick is 0."""
    if not panel.log:
        ticks_apart(axis)
        return
    log_ticks(axis)
    if not panel.floor:
        return
    low, high = axis.get_view_interval()
    ticks = [tick for tick in axis.get_majorticklocs() if 2 * panel.floor < tick <= high]
    axis.set_ticks([panel.floor, *ticks], ["0", *map(power, ticks)])
    axis.set_ticks([], minor=True)
    axis.set_view_interval(min(low, panel.floor / 1.5), high, ignore=True)


def draw_words(axes: Any, panel: SweepPanel, knob: KnobPanel, star: tuple[float, float] | None) -> None:
    """A row for each word: its jobs, and a larger dot for the best of them."""
    (group,) = knob.groups
    if panel.log:
        axes.set_xscale("log")
    if group.dots:
        rows, values = coordinates(group.dots, panel)
        axes.scatter(values, rows, s=16, alpha=0.5, color=COLOURS[0], lw=0, zorder=3)
    if group.best:
        rows, values = coordinates(group.best, panel)
        axes.scatter(values, rows, s=46, color=COLOURS[0], lw=0, zorder=3.1)
    if star is not None:
        draw_star(axes, (star[1] or panel.floor, star[0]), star[1])
    right = axes.get_xlim()[1]
    axes.set_xlim(right=right)
    for row in set(group.lost):
        axes.annotate("×", (1.0, row), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=11, color=COLOURS[1])  # fmt: skip
    if group.lost:
        axes.scatter([], [], marker="x", s=24, lw=1.2, color=COLOURS[1], label=f"{len(group.lost)} diverged")
    axes.set_yticks(range(len(knob.names)), [clip(name) for name in knob.names], fontsize=9)
    axes.set_ylim(len(knob.names) - 0.4, -0.6)
    axes.set_ylabel(plain(knob.knob), fontsize=10)
    axes.set_xlabel(plain(panel.objective), fontsize=10)
    legend(axes)
    mark(axes.xaxis, panel)
