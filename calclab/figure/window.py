"""The part of the plane behind a path, and a function's values on a grid over it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Function

GRID, SLOW_GRID = 121, 41  # points along an axis; the smaller one where every point is a call of its own
HUGE = 1e60


@dataclass(frozen=True)
class Field:
    """Values (rows are y) over a grid, and the levels to draw: NaN where the function is not finite."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    levels: tuple[float, ...]


def window(path: Tensor, function: Function) -> Tensor:
    """Bounds (2, 2), one row (low, high) an axis.

    The function's domain where the path makes use of it (covers an eighth along some axis), else a box around the
    path and the minima that it comes near. Positions that ran away, a thousand times further than the start's own
    size, do not widen it.
    """
    start = function.start.detach().cpu().double()
    start = torch.where(start.isfinite(), start, 0.0)
    reach = 1e3 * (1 + start.abs().max())
    known = path[(path.isfinite() & ((path - start).abs() <= reach)).all(1)]
    points = torch.cat([known, start.reshape(1, 2)])
    low, high = points.min(0).values, points.max(0).values
    if function.domain is not None and bool(function.domain.isfinite().all()):
        domain = function.domain.detach().cpu().double()
        size = domain[:, 1] - domain[:, 0]
        far = (low < domain[:, 0] - size) | (high > domain[:, 1] + size)
        if bool(((high - low) >= size / 8).any()) or bool(far.any()):
            near = points[((points >= domain[:, 0] - size) & (points <= domain[:, 1] + size)).all(1)]
            points = torch.cat([domain.T, near])
            low, high = points.min(0).values, points.max(0).values
            margin = 0.03 * (high - low)
            return torch.stack([low - margin, high + margin], 1)
    if function.minima is not None and function.minima.numel():
        minima = function.minima.detach().cpu().double().reshape(-1, 2)
        reach = (high - low).max()
        minima = minima[((minima >= low - reach) & (minima <= high + reach)).all(1)]  # those that the path comes near
        points = torch.cat([low[None], high[None], minima])
        low, high = points.min(0).values, points.max(0).values
    span = (high - low).max().item() or max(1.0, start.abs().max().item())
    middle = (low + high) / 2
    half = torch.maximum((high - low) * 0.7, torch.full((2,), 0.35 * span, dtype=torch.float64))
    return torch.stack([middle - half, middle + half], 1)


def field(function: Function, bounds: Tensor) -> Field:
    """The function over a grid within ``bounds``: by `torch.func.vmap`, else point by point on a coarser grid."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            x, y, points = grid(bounds, GRID)
            values = torch.func.vmap(function.call)(points.to(function.start))
        except Exception:  # a callable with branches on values, or in-place work, cannot be batched
            x, y, points = grid(bounds, SLOW_GRID)
            values = torch.stack([function.call(point) for point in points.to(function.start)])
    z = values.detach().cpu().double().reshape(len(y), len(x))
    z = torch.where(z.abs() < HUGE, z, torch.nan)
    rows = tuple(tuple(row) for row in z.tolist())
    return Field(tuple(x.tolist()), tuple(y.tolist()), rows, levels(z))


def grid(bounds: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    x, y = (torch.linspace(low, high, count, dtype=torch.float64) for low, high in bounds.tolist())
    Y, X = torch.meshgrid(y, x, indexing="ij")
    return x, y, torch.stack([X.reshape(-1), Y.reshape(-1)], 1)


def levels(z: Tensor, count: int = 22) -> tuple[float, ...]:
    """Ascending contour levels: even, or even in the logarithm of z - min z where most of z lies near its minimum.

    Empty where z is constant or nowhere finite.
    """
    finite = z[z.isfinite()]
    if not finite.numel():
        return ()
    low, middle, high = finite.min().item(), finite.median().item(), finite.max().item()
    size = high - low
    if size <= 1e-12 * max(abs(low), abs(high)) or size < 1e-290:
        return ()
    if (high - middle) <= 4 * (middle - low):
        step = round_up(size / count)
        first = math.floor(low / step)
        found = [step * i for i in range(first, math.ceil(high / step) + 1)]
        return tuple(found) if found[0] <= low < found[1] and found[-1] >= high else even(low, high, count)
    least = max(finite[finite > low].quantile(0.01).item() - low if finite.numel() < 1e6 else 0.0, size * 1e-8)
    ratio = math.log(size / least) / (count - 1)
    steps = [low, *(low + least * math.exp(ratio * i) for i in range(count - 1)), high]
    return tuple(sorted(set(steps)))


def even(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * i / count for i in range(count + 1))


def round_up(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    scale = 10.0 ** math.floor(math.log10(step))
    return next(scale * digit for digit in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if scale * digit >= step)
