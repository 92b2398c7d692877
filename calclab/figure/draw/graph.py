"""A graph of a computation: values forward in blue, what flows back in orange, local derivatives on the edges."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, blank, minus, plain
from calclab.figure.records import Edge, GraphPanel, Joint

FORWARD, BACK, BOX = COLOURS[0], COLOURS[1], "#F4F6F8"
KEY = (("value", FORWARD), ("local derivative", INK), ("what flows back", BACK))
NORMS = (
    ("‖output‖ of the layer, all rows", FORWARD),
    ("signal ‖∂loss/∂output‖", BACK),
    ("× its factor through the layer", BACK),
)
BELOW, ABOVE = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
MARGIN, WIDEST, HIGHEST, LETTER = 0.2, 16.0, 40.0, 0.085  # inches
Point = tuple[float, float]


def draw_graph(panel: GraphPanel) -> Any:
    wide, high = panel.size
    key = NORMS if panel.norms else KEY
    least = sum(LETTER * len(name) + 0.35 for name, _ in key)
    scale = min(1.0, WIDEST / (wide + 2 * MARGIN), HIGHEST / (high + 2 * MARGIN))
    width = max(least, scale * wide) + 2 * MARGIN
    figure, axes = blank(panel.title, panel.note, width + 0.3, scale * (high + 2 * MARGIN) + 0.5)
    aside = (width / scale - wide) / 2
    axes.set_xlim(-aside, wide + aside)
    axes.set_ylim(-MARGIN, high + 0.4 / scale)
    axes.set_aspect("equal")
    axes.set_axis_off()
    at = -aside
    for name, colour in key:
        axes.text(at, high + 0.3 / scale, name, color=colour, fontsize=9, fontweight="bold", va="center")
        at += (LETTER * len(name) + 0.35) / scale
    for edge in panel.edges:
        draw_edge(axes, panel, edge, scale)
    for joint in panel.joints:
        draw_joint(axes, panel, joint, scale)
    for text in axes.texts:
        text.set_in_layout(False)
    return figure


def draw_joint(axes: Any, panel: GraphPanel, joint: Joint, scale: float) -> None:
    """A box: what is computed, the value, and the adjoint below."""
    from matplotlib.patches import FancyBboxPatch

    (x, y), (wide, high) = joint.place, joint.size
    box = FancyBboxPatch((x - wide / 2, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.08",
                         fc=BOX, ec="#8A94A0", lw=1.1 * scale, zorder=3)  # fmt: skip
    axes.add_patch(box)
    name = pretty(joint.name) if not panel.norms else joint.name
    about = f" = {pretty(joint.text)}" if joint.text and not panel.norms else f"  {joint.text}"
    value = "" if math.isnan(joint.value) else digits(joint.value)
    adjoint = "" if math.isnan(joint.adjoint) else digits(joint.adjoint)
    look = {"fontsize": 9.5 * scale, "va": "center", "zorder": 4}
    lines = 2 if panel.norms else 1 + bool(value) + bool(adjoint)
    step = high / (lines + 0.35)
    heights = [y + high / 2 - step * (i + 0.68) for i in range(lines)]
    axes.text(x, heights[0], plain(f"{name}{about}".strip()), color=INK, fontweight="bold", ha="center", **look)
    if panel.norms:
        axes.text(x - 0.08, heights[1], value, color=FORWARD, fontweight="bold", ha="right", **look)
        axes.text(x + 0.08, heights[1], adjoint, color=BACK, ha="left", **look)
        return
    if value:
        axes.text(x, heights[1], value, color=FORWARD, fontweight="bold", ha="center", **look)
    if adjoint:
        slope = f"∂{pretty(panel.joints[-1].name)}/∂{name} = {adjoint}"
        axes.text(x, heights[-1], plain(slope), color=BACK, ha="center", **look)


def draw_edge(axes: Any, panel: GraphPanel, edge: Edge, scale: float) -> None:
    """A curve from box to box, and on it the local derivative; below that what flows back."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    tail, head = panel.joints[edge.tail], panel.joints[edge.head]
    curve = smooth([leaving(panel, tail, 1), *edge.bends, leaving(panel, head, -1)], panel.across)
    arrow = FancyArrowPatch(path=Path(curve, [1] + [4] * (len(curve) - 1)), arrowstyle="-|>", mutation_scale=12 * scale,
                            color="#8A94A0", lw=1.3 * scale, shrinkA=0, shrinkB=0, zorder=1)  # fmt: skip
    axes.add_patch(arrow)
    x, y = labelled(curve, sum(other.tail == edge.tail for other in panel.edges),
                    sum(other.head == edge.head for other in panel.edges))  # fmt: skip
    local = "" if math.isnan(edge.local) else digits(edge.local)
    flow = "" if math.isnan(edge.flow) else digits(edge.flow)
    if panel.written and local:
        local = f"∂{pretty(head.name)}/∂{pretty(tail.name)} = {local}"
        flow = f"{digits(head.adjoint)} · {digits(edge.local)} = {flow}" if flow else ""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    look = {"fontsize": 8.5 * scale, "zorder": 2, "bbox": box}
    if panel.norms:
        axes.text(x, y, f"× {local}" if local else "", color=BACK, va="center", ha="center", **look)
    elif panel.across:
        axes.text(x, y + 0.03, plain(local), color=INK, va="bottom", ha="center", **look)
        axes.text(x, y - 0.03, f"← {flow}" if flow else "", color=BACK, va="top", ha="center", **look)
    else:
        axes.text(x - 0.05, y, plain(local), color=INK, va="center", ha="right", **look)
        axes.text(x + 0.05, y, f"↑ {flow}" if flow else "", color=BACK, va="center", ha="left", **look)


def digits(value: float) -> str:
    """Four digits: of a lesson's numbers, usually all."""
    return minus(f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e"))


def pretty(text: str) -> str:
    """A formula as a blackboard has it: x₁, v₂², 3·x."""
    text = re.sub(r"\b([A-Za-z]+)(\d+)\b", lambda m: m[1] + m[2].translate(BELOW), text)
    text = re.sub(r"\*\*(\d+)\b(?!\.)", lambda m: m[1].translate(ABOVE), text)
    return text.replace("**", "^").replace("*", "·").replace("-", "\N{MINUS SIGN}")


def leaving(panel: GraphPanel, joint: Joint, way: int) -> tuple[float, float]:
    """The middle of the side of a box by which edges leave (1) or arrive (-1)."""
    (x, y), (wide, high) = joint.place, joint.size
    return (x + way * wide / 2, y) if panel.across else (x, y - way * high / 2)


def smooth(points: Sequence[Point], across: bool) -> list[Point]:
    """Cubic curves through the points (begin, then three points each), which leave and arrive along the direction of
    the layers, and in between go the way from the point before to the one after (Catmull and Rom)."""
    curve = [points[0]]
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        along = (x1 - x0, 0.0) if across else (0.0, y1 - y0)
        begin = along if i == 0 else half(points[i - 1], points[i + 1])
        end = along if i == len(points) - 2 else half(points[i], points[i + 2])
        bend = 2.0 if i in (0, len(points) - 2) else 3.0
        curve += [(x0 + begin[0] / bend, y0 + begin[1] / bend), (x1 - end[0] / bend, y1 - end[1] / bend), (x1, y1)]
    return curve


def half(a: Point, b: Point) -> Point:
    return (b[0] - a[0]) / 2, (b[1] - a[1]) / 2


def labelled(curve: Sequence[Point], leaving: int, arriving: int) -> Point:
    """Where on its curve an edge has its label: towards the end where fewer others are."""
    pieces = len(curve) // 3
    if leaving == arriving:
        piece, t = pieces // 2, 0.5 if pieces % 2 else 0.0
    else:
        piece, t = (0, 0.38) if leaving < arriving else (pieces - 1, 0.62)
    p = curve[3 * piece : 3 * piece + 4]
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return sum(w * x for w, (x, _) in zip(weights, p, strict=True)), sum(
        w * y for w, (_, y) in zip(weights, p, strict=True)
    )
