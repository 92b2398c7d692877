"""Records of trajectories: over the contours of a function of two variables, or in their principal plane."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Columns, Contours, Function, Labels, PrincipalPlane
from calclab.figure.record import plane
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import field, saved_bytes, values
from calclab.figure.record.scale import course
from calclab.figure.record.window import around, beginning, known_minima, near, shaped, window
from calclab.figure.records import SHAPE, ContoursPanel, Line, PlanePanel, Points

FAR = 1e150
COARSE, FINE, FORMULA = 7, 41, 61  # points along an axis of the grid on a plane: from, to, and those of a formula
BYTES = 800_000_000  # of the graphs of all evaluations on the grid together, about
ON = 0.01  # of the path's extent: what is closer to the plane is shown as on it
MUCH, LITTLE = 0.1, 0.9  # a path further off the plane, or with less of its variance on it, is not told by it


def contours(picture: Contours, columns: Columns, labels: Labels, title: str) -> ContoursPanel | None:
    function = picture.function
    column = columns.get(picture.path)
    if column is None or column.data.ndim != 2 or column.data.shape[1] != 2 or function.start.shape != (2,):
        return None
    path = column.data.double()
    bounds = window(path, function)
    finite = path.isfinite().all(1)
    inside = finite & within(path, bounds)
    note = outside(column.steps, inside)
    clipped = torch.where(finite[:, None], path.clamp(-FAR, FAR), torch.nan)
    if bool(inside.any()):
        clipped[int(inside.nonzero()[-1]) + 2 :] = torch.nan  # it has left for good: to and fro out there is a thicket
    minima = known_minima(function)
    minima = minima[within(minima, bounds)]
    names = (function.variables[0], function.variables[1])
    ends = bool(inside[-1]) if len(path) else False
    return ContoursPanel(title, names, pairs(clipped), pairs(minima), field(function, bounds), note, ends)


def outside(steps: Sequence[int], inside: Tensor) -> str:
    """How many positions the window leaves out."""
    lost = int((~inside).sum())
    if not lost:
        return ""
    last = int(inside.nonzero()[-1]) if lost < len(steps) else -1
    since = f", all from step {steps[last + 1]} on" if lost > 1 and lost == len(steps) - 1 - last else ""
    return f"{lost} of {len(steps)} positions are outside{since}"


def principal_plane(picture: PrincipalPlane, columns: Columns, labels: Labels, title: str) -> PlanePanel | None:
    function = picture.function
    column = columns.get(picture.path)
    n = len(function.start)
    if column is None or column.data.ndim != 2 or column.data.shape[1] != n or n < 2 or not len(column.steps):
        return None
    path, steps, note = leading(column.data.double(), column.steps, beginning(function))
    found = plane.principal_plane(path)
    inside, off = found.project(path)
    extent = float((path - found.origin).norm(dim=1).max())
    off = off / extent if extent > 0 else torch.zeros_like(off)
    minima = known_minima(function)
    projected, distance = found.project(minima)
    close = distance <= max(extent, ON)
    bounds = shaped(around(inside, projected[close]), SHAPE)
    close &= within(projected, bounds)
    on = distance <= ON * extent
    count = resolution(function)
    names = [f"principal direction {i} ({percent(share)} of the variance)" for i, share in enumerate(found.shares, 1)]
    if extent == 0:
        names = [f"direction {i} (the path does not move)" for i in (1, 2)]
    stride = steps[1] - steps[0] if len(steps) > 1 else 1
    further = int((~close).sum())
    notes = [f"f on {count} × {count} points", f"one position in {stride} steps" if stride > 1 else "", note]
    notes += [f"{further} known minim{'um lies' if further == 1 else 'a lie'} outside"] if further else []
    shown = field(function, bounds, count, found.place)
    seen = ContoursPanel(
        title,
        (names[0], names[1]),
        pairs(inside),
        pairs(projected[close & on]),
        shown,
        "; ".join(filter(None, notes)),
        ends=not note,
    )
    every = math.ceil(len(path) / max(12, count * count // 8))
    which = sorted({*range(0, len(path), every), len(path) - 1})
    at = tuple(float(steps[i]) for i in which)
    lines = [
        Line("on the path", at, numbers(values(function, path[which]))),
        Line("on the plane", at, numbers(values(function, found.place(inside[which]))), dashed=True),
    ]
    losses = course("loss", "step", lines, "y")
    far = Line("distance off the plane", tuple(map(float, steps)), numbers(off))
    beside = course("distance off the plane ÷ extent of the path", "step", [far], "", top=MUCH)
    return PlanePanel(
        seen,
        pairs(projected[close & ~on]),
        numbers(distance[close & ~on]),
        losses,
        beside,
        warning(sum(found.shares), float(off.max()), extent),
    )


def leading(path: Tensor, steps: Sequence[int], start: Tensor) -> tuple[Tensor, Sequence[int], str]:
    """The positions before the path runs away or ceases to be finite, at least the start; and what was left out."""
    stays = int(near(path, start).cumprod(0).sum())
    lost = len(path) - stays
    note = f"{lost} of {len(path)} positions, from step {steps[stays]} on, run away and are not shown" if lost else ""
    return (path[:stays], steps[:stays], note) if stays else (start[None], steps[:1], note)


def warning(share: float, off: float, extent: float) -> str:
    """What to say of a plane that does not tell the story."""
    if extent == 0 or (share >= LITTLE and off <= MUCH):
        return ""
    return (
        f"This plane holds {percent(share)} of the path's variance, and the path leaves it by up to {off:.2g} of its "
        "extent: trust the curves on the right more than the contours."
    )


def percent(share: float) -> str:
    """Never 100 % of what is not all, never 0 % of what is something."""
    if 0.9995 <= share < 1 - 1e-9:
        return "over 99.9 %"
    if share < 0.0005:
        return "0 %" if share < 1e-9 else "under 0.1 %"
    return f"{100 * share:.3g} %"


def resolution(function: Function) -> int:
    """Points along an axis of the grid: fewer where an evaluation is dear."""
    if function.exact is not None:
        return FORMULA
    return max(COARSE, min(FINE, math.isqrt(BYTES // max(1, saved_bytes(function)))))


def within(points: Tensor, bounds: Tensor) -> Tensor:
    return ((points >= bounds[:, 0]) & (points <= bounds[:, 1])).all(1)


def pairs(points: Tensor) -> Points:
    return tuple((x, y) for x, y in points.tolist())
