"""The record of what a map of the plane to the plane does: a grid, a circle and its ellipse.

The Jacobian J = U diag(σ) Vᵀ takes the circle of radius r to the ellipse with half axes σ_i r along the columns of U,
which are the images of those of V. Areas are multiplied by |det J|; where det J < 0 the map turns over.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calclab.core import Columns, Deformation, Function, Labels
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import cheap, values
from calclab.figure.record.window import nearby
from calclab.figure.records import Arrow, DeformationPanel, Line

LINES, POINTS, FEW = 9, 61, 17  # of the grid along either axis; points of each; where an evaluation is dear
RADIUS = 0.6  # of half the window
REACH, JUMP = 3.0, 20.0  # times as far as the Jacobian says; times the usual step
AROUND = 121


def deformation(picture: Deformation, columns: Columns, labels: Labels, title: str) -> DeformationPanel | None:
    """None where the Jacobian was not logged, or nothing around the point is finite."""
    f, column = picture.function, columns.get(picture.matrix)
    if column is None or not len(column.steps) or column.data.shape[1:] != (2, 2) or len(f.start) != 2:
        return None
    J = column.data[-1].double().cpu()
    x, half = f.start.detach().cpu().double(), nearby(f) / 2
    many = cheap(f)
    t = torch.linspace(-half, half, POINTS if many else FEW, dtype=torch.float64)
    places = torch.linspace(-half, half, LINES, dtype=torch.float64)
    lines = [x + torch.stack([t, torch.full_like(t, c)], 1) for c in places]
    lines += [x + torch.stack([torch.full_like(t, c), t], 1) for c in places]
    angles = torch.linspace(0, 2 * math.pi, AROUND if many else FEW * 2, dtype=torch.float64)
    unit = torch.stack([angles.cos(), angles.sin()], 1)
    r = RADIUS * half
    circle = x + r * unit
    every = torch.cat([*lines, circle, x[None]])
    images = values(f, every)
    if images.shape != (len(every), 2) or not bool(images[-1].isfinite().all()) or not bool(J.isfinite().all()):
        return None
    y = images[-1]
    reach = REACH * half * float(J.abs().sum(1).max())  # where a map that bends little stays
    moved = images[: len(lines) * len(t)].reshape(len(lines), len(t), 2)
    round_ = images[len(lines) * len(t) : -1]
    U, σ, Vh = torch.linalg.svd(J)
    right = tuple(Arrow(f"v{i + 1}", pair(x), pair(r * Vh[i])) for i in range(2))
    left = tuple(Arrow(f"σ{i + 1} = {float(σ[i]):.4g}", pair(y), pair(r * σ[i] * U[:, i])) for i in range(2))
    return DeformationPanel(
        title,
        (f.variables[0], f.variables[1]),
        (f.outputs[0], f.outputs[1]),
        tuple(map(line, lines)),
        tuple(line(unbroken(part)) for part in moved),
        LINES,
        line(circle),
        line(unbroken(round_)),
        line(y + r * unit @ J.T),
        right,
        left,
        area(f, J),
        reach,
    )


def unbroken(points: Tensor) -> Tensor:
    """Points (p, 2) of a line that is interrupted where it jumps, as an angle does from π to -π."""
    steps = points.diff(dim=0).norm(dim=1)
    usual = float(steps[steps.isfinite()].median()) if bool(steps.isfinite().any()) else 0.0
    jumps = (steps > JUMP * usual).nonzero()[:, 0] if usual > 0 else steps.new_zeros(0, dtype=torch.long)
    points = points.clone()
    points[jumps] = torch.nan
    return points


def line(points: Tensor) -> Line:
    return Line("", numbers(points[:, 0]), numbers(points[:, 1]))


def pair(d: Tensor) -> tuple[float, float]:
    return float(d[0]), float(d[1])


def area(f: Function, J: Tensor) -> str:
    """What the determinant says."""
    det, size = float(J.det()), float(J.abs().max()) ** 2
    if abs(det) <= 1e-14 * size:
        return "det J = 0: the plane is folded onto a line, or to a point"
    turned = "" if det > 0 else ", and orientation is reversed"
    return f"det J = {det:.4g}: areas are multiplied by {abs(det):.4g}{turned}"
