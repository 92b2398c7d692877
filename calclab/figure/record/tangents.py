"""Records of curves with their tangents: of one variable with secants and a zoom, of several a slice along each."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Columns, Function, Gradient, Labels, Tangent
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import cheap, field, values
from calclab.figure.record.window import nearby
from calclab.figure.records import Arrow, GradientPanel, Line, TangentPanel, View

POINTS, FEW = 241, 41  # of a curve; of one that is dear to evaluate
ZOOM, ZOOMS, STRAIGHT = 61, 3, 0.02  # points and number of enlargements; of the height, at the last of them
SECANTS = (0.8, 0.4, 0.2)  # their steps, of half the window
MOST = 8  # slices
MARGIN, WILD = 1.15, 8.0  # above the highest; values beyond so many times the middle ones do not set the height
STEEP = 10.0  # times as far as the curve, at most, goes the tangent
PLANE = 81  # points along an axis of the contours


def tangent(picture: Tangent, columns: Columns, labels: Labels, title: str) -> TangentPanel | None:
    """None where nothing was logged, or the function is nowhere finite around the point."""
    f, i = picture.function, picture.index
    if picture.shows[0] not in columns:
        return None
    slopes = picture.slopes()[:, i].tolist()
    many, half = cheap(f), nearby(f)
    half = calm(f, i, half, slopes) if many else half
    seen = view(f, i, half, slopes, POINTS if many else FEW)
    if seen is None:
        return None
    x, y = seen.point
    steps = [s * half * sign for s in SECANTS for sign in (1, -1)]
    ends = dict(zip(steps, numbers(values(f, moved(f, i, torch.tensor(steps, dtype=torch.float64)))), strict=True))
    secants = []
    for s in SECANTS:
        h = s * half if math.isfinite(ends[s * half]) else -s * half
        slope = (ends[h] - y) / h
        if math.isfinite(slope):
            secants.append(replace(straight(x, y, slope, seen.across), name=f"secant, h = {h:.3g}: {slope:.4g}"))
    views = [replace(seen, secants=tuple(secants))]
    while len(views) <= ZOOMS:
        factor = zoom(f, i, half, slopes, seen)
        nearer = view(f, i, half / factor ** len(views), slopes, ZOOM if many else FEW // 3)
        if nearer is None:
            break
        high = (seen.upward[1] - seen.upward[0]) / 2 / factor ** len(views)
        apart = distance(nearer, high)
        bent = ": still bent" if len(nearer.tangents) > 1 else ""
        told = bent or (f": {share(apart)} apart" if math.isfinite(apart) else "")
        large = f"× {factor ** len(views):g}{told}"
        views.append(replace(nearer, title=large, upward=(y - high, y + high)))
    one = len(seen.tangents) == 1
    note = "apart: the largest distance of curve and tangent, of half the window's height" if one else ""
    return TangentPanel(title, views[0], tuple(views[1:]), note)


def gradient(picture: Gradient, columns: Columns, labels: Labels, title: str) -> GradientPanel | None:
    """None where no gradient was logged, or the function is nowhere finite around the point."""
    f = picture.function
    column = columns.get("gradient")
    if column is None or not len(column.steps):
        return None
    n, half, slopes, many = len(f.start), nearby(f), picture.slopes(), cheap(f)
    found = [view(f, i, half, slopes[:, i].tolist(), POINTS // 2 if many else FEW) for i in range(min(n, MOST))]
    slices = tuple(slice_ for slice_ in found if slice_ is not None)
    if not slices:
        return None
    note = f"the first {MOST} of {n} variables" if n > MOST else ""
    if n != 2:
        return GradientPanel(title, slices, note=note)
    x = f.start.detach().cpu().double()
    around = field(f, torch.stack([x - half, x + half], 1), PLANE if many else FEW)
    g = slopes.mean(0)  # NaN unless both sides are known
    exists = bool((slopes[0] == slopes[1]).all()) and bool(g.isfinite().all())
    size = float(g.norm()) if exists else math.nan
    arrow = None
    if size > 0:
        step = tuple((0.6 * half * g / size).tolist())
        arrow = Arrow(f"∇f = ({float(g[0]):.4g}, {float(g[1]):.4g})", (float(x[0]), float(x[1])), (step[0], step[1]))
    else:
        note = "∇f = 0: f is stationary here" if size == 0 else "the gradient does not exist here, or is not known"
    names = (f.variables[0], f.variables[1])
    return GradientPanel(title, slices, names, around, slices[0].point[1], arrow, note)


def share(part: float) -> str:
    """In percent, to a tenth where that says something."""
    return "under 0.1 %" if part < 0.001 else f"{100 * part:.1f} %" if part < 0.1 else f"{100 * part:.0f} %"


def view(f: Function, i: int, half: float, slopes: list[float], count: int) -> View | None:
    """f along variable i within ``half`` of the start, ``slopes`` being those from below and from above."""
    t = torch.linspace(-half, half, count | 1, dtype=torch.float64)
    t[len(t) // 2] = 0
    ys = values(f, moved(f, i, t))
    middle = ys[len(ys) // 2]
    if not bool(middle.isfinite()):
        return None
    x, y, name = float(f.start[i]), float(middle), f.variables[i]
    across = (x - half, x + half)
    high = MARGIN * height(ys - middle, [s * half for s in slopes if math.isfinite(s)])
    upward = (y - high, y + high) if high > 0 else (y - 1, y + 1)
    curve = Line("f", tuple((x + t).tolist()), numbers(ys))
    left, right = slopes
    lines = []
    if left == right and math.isfinite(left):
        lines = [replace(straight(x, y, left, across), name=f"tangent: {slope_of(f, i)} = {left:.4g}")]
    else:
        sides = (("from below", left, (across[0], x)), ("from above", right, (x, across[1])))
        for side, slope, part in sides:
            if math.isfinite(slope):
                lines.append(replace(straight(x, y, slope, part), name=f"slope {slope:.4g} {side}"))
    return View(f"along {name}", (name, "f"), (x, y), across, upward, curve, tuple(lines))


def slope_of(f: Function, i: int) -> str:
    return f"∂f/∂{f.variables[i]}" if len(f.start) > 1 else f"f′({f.variables[i]})"


def moved(f: Function, i: int, t: Tensor) -> Tensor:
    """The start (n,) with ``t`` (p,) added to variable i, (p, n)."""
    points = f.start.detach().cpu().double().repeat(len(t), 1)
    points[:, i] += t
    return points


def straight(x: float, y: float, slope: float, across: tuple[float, float]) -> Line:
    """The line through (x, y) from end to end."""
    return Line("", across, tuple(y + slope * (end - x) for end in across), dashed=True)


def height(away: Tensor, ends: list[float]) -> float:
    """How far up and down there is something to see: of values far beyond most, only a part."""
    sizes = away[away.isfinite()].abs()
    if not len(sizes):
        return 0.0
    usual = max([float(sizes.median()), *(abs(end) / 2 for end in ends)])
    return min(float(sizes.max()), WILD * usual) if usual > 0 else float(sizes.max())


def calm(f: Function, i: int, half: float, slopes: list[float]) -> float:
    """Half the width of a window in which the curve goes up and down a few times only, and its tangents not out of it
    at once."""
    steep = max((abs(slope) for slope in slopes if math.isfinite(slope)), default=0.0)
    for _ in range(12):
        ys = values(f, moved(f, i, torch.linspace(-half, half, 33, dtype=torch.float64)))
        turns, away = ys.diff().sign(), (ys - ys[16]).abs().nan_to_num()
        if int((turns[1:] * turns[:-1] < 0).sum()) <= 6 and steep * half <= STEEP * float(away.median()):
            return half
        half /= 4
    return half


def zoom(f: Function, i: int, half: float, slopes: list[float], seen: View) -> float:
    """The enlargement from one window to the next, such that the last shows a line that is straight to the eye."""
    high = (seen.upward[1] - seen.upward[0]) / 2
    for factor in (4.0, 10.0):
        last = view(f, i, half / factor**ZOOMS, slopes, 9)
        if last is not None and distance(last, high / factor**ZOOMS) <= STRAIGHT:
            return factor
    return 10.0


def distance(seen: View, high: float) -> float:
    """How far the curve is from its tangents, of the height of the window; NaN where there are none on both sides."""
    x, y = seen.point
    slopes = [(line.y[1] - line.y[0]) / (line.x[1] - line.x[0]) for line in seen.tangents]
    if not slopes or (len(slopes) == 1 and seen.tangents[0].x != seen.across):
        return math.nan
    gaps = [
        abs(v - y - (slopes[0] if t < x else slopes[-1]) * (t - x))
        for t, v in zip(seen.curve.x, seen.curve.y, strict=True)
        if math.isfinite(v)
    ]
    return max(gaps, default=math.nan) / high
