"""Records of curvature at a point of the plane, and of Gershgorin's discs.

The quadratic model is m(d) = f + g·d + ½ dᵀHd. Its contours are ellipses where H is definite, their half axes along the
eigenvectors in the ratio 1/√|λ|; hyperbolas where it is indefinite. It stands still at Newton's step d = -H⁻¹g.
Gershgorin (1931): every eigenvalue lies in a disc around some a_ii of radius Σ_{j≠i} |a_ij|.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calclab.core import Columns, Curvature, Discs, Labels
from calclab.figure.record.curves import numbers
from calclab.figure.record.field import cheap, field
from calclab.figure.record.matrices import axis_names
from calclab.figure.record.paths import pairs, within
from calclab.figure.record.window import known_minima, nearby
from calclab.figure.records import Arrow, CurvaturePanel, DiscsPanel, Line

GRID, COARSE = 101, 41  # points along an axis; where an evaluation is dear
AROUND = 181  # points of an ellipse
FLAT = 1e-12  # of the largest |λ|: smaller ones are zero
LARGEST, LONG = 0.6, 0.85  # of half the window: half axis of the ellipse, the longer eigenvector


def curvature(picture: Curvature, columns: Columns, labels: Labels, title: str) -> CurvaturePanel | None:
    """None where anything was not logged, or is not finite."""
    f = picture.function
    parts = [columns.get(name) for name in picture.shows]
    if len(f.start) != 2 or any(part is None or not len(part.steps) for part in parts):
        return None
    H, g, λ, V = (part.data[-1].double().cpu() for part in parts if part is not None)
    if not all(bool(part.isfinite().all()) for part in (H, g, λ, V)):
        return None
    x = f.start.detach().cpu().double()
    newton = step(λ, V, g)
    half = window(nearby(f), float(newton.norm()))
    bounds = torch.stack([x - half, x + half], 1)
    seen = field(f, bounds, GRID if cheap(f) else COARSE)
    at = (float(x[0]), float(x[1]))
    notes, steps = [], []
    if bool(g.norm() > 0):
        steps.append(Arrow("−∇f, direction", at, pair(-0.5 * half * g / g.norm())))
    size = float(newton.norm())
    if not math.isfinite(size):
        notes.append("H is singular: Newton's step does not exist")
    elif size > 0:
        kept = min(1.0, 1.3 * half / size)
        steps.append(Arrow("Newton's step" if kept == 1 else "Newton's step, cut off", at, pair(kept * newton)))
    else:
        notes.append("∇f = 0: f is stationary here")
    sizes = λ.abs() / max(float(λ.abs().max()), 1e-300)
    order = sorted(range(2), key=lambda i: -float(λ[i]))
    eigenvectors = tuple(
        Arrow(f"λ = {float(λ[i]):.4g}", at, pair(LONG * half * sizes[i] * toward(V[:, i]))) for i in order
    )
    minima = known_minima(f)
    axes = (f.variables[0], f.variables[1])
    stars = pairs(minima[within(minima, bounds)])
    curves = tuple(Line("", numbers(part[:, 0]), numbers(part[:, 1])) for part in ellipse(x, λ, V, half))
    return CurvaturePanel(title, axes, seen, at, curves, eigenvectors, tuple(steps), stars, "; ".join(notes))


def step(λ: Tensor, V: Tensor, g: Tensor) -> Tensor:
    """Newton's: -H⁻¹g (2,); infinite where H is singular."""
    if bool(g.norm() == 0):
        return torch.zeros_like(g)
    if bool(λ.abs().min() <= FLAT * λ.abs().max()):
        return torch.full_like(g, torch.inf)
    return -V @ ((V.T @ g) / λ)


def window(usual: float, newton: float) -> float:
    """Half the width: the usual one, or what Newton's step asks for where that is within reason."""
    return min(max(1.5 * newton, usual / 4), 2 * usual) if 0 < newton < 2 * usual else usual


def ellipse(x: Tensor, λ: Tensor, V: Tensor, half: float) -> list[Tensor]:
    """Points (p, 2) of dᵀHd = ±c, as large as the window takes; lines where one λ is zero, nothing where both are."""
    sizes, most = λ.abs(), float(λ.abs().max())
    if most == 0:
        return []
    flat = sizes <= FLAT * most
    least = float(sizes[~flat].min())
    a = LARGEST * half * (least / sizes.clamp(min=FLAT * most)).sqrt()  # half axes (2,)
    if bool(flat.any()):
        along, across = V[:, int(flat.int().argmax())], V[:, 1 - int(flat.int().argmax())]
        ends = torch.tensor([-3.0, 3.0], dtype=torch.float64)[:, None] * half * along
        return [x + sign * LARGEST * half / 2 * across + ends for sign in (1, -1)]
    if float(λ.prod()) > 0:
        t = torch.linspace(0, 2 * math.pi, AROUND, dtype=torch.float64)
        return [x + (a * torch.stack([t.cos(), t.sin()], 1)) @ V.T]
    reach = math.acosh(max(3.0 * half / float(a.min()), 1.5))
    t = torch.linspace(-reach, reach, AROUND, dtype=torch.float64)
    branches = [sign * torch.stack([t.cosh(), t.sinh()], 1) for sign in (1, -1)]
    branches += [sign * torch.stack([t.sinh(), t.cosh()], 1) for sign in (1, -1)]
    return [x + (a * branch / 2) @ V.T for branch in branches]


def toward(v: Tensor) -> Tensor:
    """The eigenvector (2,), of the two, that points to the right, or up."""
    return v * (1.0 if (float(v[0]), float(v[1])) > (0.0, 0.0) else -1.0)


def pair(d: Tensor) -> tuple[float, float]:
    return float(d[0]), float(d[1])


def discs(picture: Discs, columns: Columns, labels: Labels, title: str) -> DiscsPanel | None:
    """None where the matrix was not logged, or is not finite."""
    parts = [columns.get(name) for name in picture.shows]
    if any(part is None or not len(part.steps) for part in parts):
        return None
    A, λ = (part.data[-1].double().cpu() for part in parts if part is not None)
    if A.ndim != 2 or len(A) < 2 or not bool(A.isfinite().all()):
        return None
    centres = A.diag()
    radii = A.abs().sum(1) - centres.abs()
    names = axis_names(labels.get(picture.matrix, ()), 0, len(A))
    low = float((centres - radii).min())
    note = "all discs lie right of 0: H is positive definite" if low > 0 else ""
    return DiscsPanel(title, names, numbers(centres), numbers(radii), numbers(λ[λ.isfinite()]), note)
