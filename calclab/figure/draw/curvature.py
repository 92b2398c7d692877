"""Curvature at a point of the plane, and Gershgorin's discs."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import COLOURS, FAINT, INK, blank, clip, legend, plain
from calclab.figure.draw.contours import STAR, arrow, fill, plane
from calclab.figure.records import CurvaturePanel, DiscsPanel

ROUND = 6  # discs that are drawn as such; more are shown as what they cut out of the real line
POSITIVE, NEGATIVE = "#D55E00", "#56B4E9"


def draw_curvature(panel: CurvaturePanel) -> Any:
    from matplotlib.lines import Line2D

    figure, axes = plane(panel.title, panel.note, panel.field)
    fill(figure, axes, panel.field)
    handles = []
    for curve in panel.ellipse:
        axes.plot(curve.x, curve.y, color="white", lw=2.0, zorder=2.4)
    if panel.ellipse:
        kind = "ellipse" if len(panel.ellipse) == 1 else "lines" if len(panel.ellipse) == 2 else "hyperbolas"
        name = f"{kind} dᵀHd = {'c' if len(panel.ellipse) < 3 else '±c'}"
        handles.append(Line2D([], [], color=FAINT, lw=2.0, label=name))
    for vector, colour in zip(panel.eigenvectors, (COLOURS[1], COLOURS[4]), strict=False):
        handles.append(arrow(axes, vector, colour))
    for shown, colour in zip(panel.steps, (COLOURS[0], INK), strict=False):
        handles.append(arrow(axes, shown, colour, 2.0))
    if panel.minima:
        xs, ys = zip(*panel.minima, strict=True)
        (star,) = axes.plot(xs, ys, "*", ms=18, color=STAR, mec=INK, mew=1.0, ls="", label="minimum", zorder=3)
        handles.append(star)
    axes.plot(*panel.point, "o", ms=8, color="white", mec=INK, mew=1.5, zorder=4)
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    legend(axes, handles, [str(handle.get_label()) for handle in handles])
    return figure


def draw_discs(panel: DiscsPanel) -> Any:
    few = len(panel.names) <= ROUND
    low = min(c - r for c, r in zip(panel.centres, panel.radii, strict=True))
    high = max(c + r for c, r in zip(panel.centres, panel.radii, strict=True))
    flat = 2 * max(panel.radii) / ((high - low) or 1.0)
    height = min(5.4, max(1.6, 6.2 * flat)) + 1.5 if few else min(9.0, 1.6 + 0.2 * len(panel.names))
    figure, axes = blank(panel.title, panel.note, 7.4, height, equal=few)
    if few:
        circles(axes, panel, low, high)
    else:
        bands(axes, panel)
    if few:
        at = [0.0] * len(panel.eigenvalues)
        axes.plot(panel.eigenvalues, at, "x", ms=9, mew=2.0, color=INK, ls="", label="eigenvalue", zorder=4)
    for i, value in enumerate(() if few else panel.eigenvalues):
        axes.axvline(value, color=INK, lw=1.0, label="eigenvalue" if i == 0 else None)
    axes.axvline(0, color=FAINT, lw=0.8, ls=(0, (1, 2)), zorder=0.5)
    axes.set_xlabel("real part" if few else "eigenvalue", fontsize=10)
    legend(axes, *axes.get_legend_handles_labels())
    return figure


def circles(axes: Any, panel: DiscsPanel, low: float, high: float) -> None:
    from matplotlib.patches import Circle

    for i, (name, centre, radius) in enumerate(zip(panel.names, panel.centres, panel.radii, strict=True)):
        colour = COLOURS[i % len(COLOURS)]
        axes.add_patch(Circle((centre, 0), radius, fc=colour, ec=colour, alpha=0.18))
        axes.add_patch(Circle((centre, 0), radius, fill=False, ec=colour, lw=1.8, label=f"row {clip(name)}"))
        axes.plot(centre, 0, "o", ms=5, color=colour)
    tall, margin = max(panel.radii), 0.06 * ((high - low) or 1.0)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(-max(tall, margin) - margin, max(tall, margin) + margin)
    axes.set_aspect("equal")
    axes.axhline(0, color=FAINT, lw=0.8, zorder=0.5)
    axes.set_ylabel("imaginary part", fontsize=10)


def bands(axes: Any, panel: DiscsPanel) -> None:
    rows = range(len(panel.names))
    axes.hlines(rows, [c - r for c, r in zip(panel.centres, panel.radii, strict=True)],
                [c + r for c, r in zip(panel.centres, panel.radii, strict=True)],
                color=COLOURS[5], lw=6 if len(panel.names) < 30 else 3, alpha=0.6, label="a_ii ± Σ|a_ij|")  # fmt: skip
    axes.plot(panel.centres, rows, "o", ms=4, color=COLOURS[0], ls="", label="a_ii")
    axes.set_yticks(rows, [clip(name) for name in panel.names], fontsize=9 if len(panel.names) < 30 else 7)
    axes.set_ylim(len(panel.names) - 0.4, -0.6)
    axes.grid(True, axis="x", color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)
