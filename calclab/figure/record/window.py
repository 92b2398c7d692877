"""The part of the plane behind a path."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Function

FAR, NEAR = 1e3, 10.0  # how many times the start's own size a path may go; how much of one that runs away is shown


def window(path: Tensor, function: Function) -> Tensor:
    """Bounds (2, 2), one row (low, high) an axis.

    The function's domain where the path makes use of it (covers an eighth along some axis), else a box around the
    path and the minima that it comes near. Positions of a path that runs away do not widen it.
    """
    start = beginning(function)
    known = path[near(path, start)]
    points = torch.cat([known, start.reshape(1, 2)])
    low, high = points.min(0).values, points.max(0).values
    if function.domain is not None and bool(function.domain.isfinite().all()):
        domain = function.domain.detach().cpu().double()
        size = domain[:, 1] - domain[:, 0]
        far = (low < domain[:, 0] - size) | (high > domain[:, 1] + size)
        if bool(((high - low) >= size / 8).any()) or bool(far.any()):
            inside = points[((points >= domain[:, 0] - size) & (points <= domain[:, 1] + size)).all(1)]
            points = torch.cat([domain.T, inside])
            low, high = points.min(0).values, points.max(0).values
            margin = 0.03 * (high - low)
            return torch.stack([low - margin, high + margin], 1)
    return around(points, known_minima(function))


def beginning(function: Function) -> Tensor:
    start = function.start.detach().cpu().double()
    return torch.where(start.isfinite(), start, 0.0)


def known_minima(function: Function) -> Tensor:
    """(p, n), p = 0 where none is known."""
    n = len(function.start)
    if function.minima is None:
        return torch.zeros(0, n, dtype=torch.float64)
    return function.minima.detach().cpu().double().reshape(-1, n)


def near(path: Tensor, start: Tensor) -> Tensor:
    """Which positions (p, n) are finite and within reach of the start, (p,): of a path that goes a thousand times the
    start's own size away, those within ten times."""
    size = 1 + start.abs().max()
    away = (path - start).abs().amax(1)
    away = torch.where(away.isfinite(), away, torch.inf)
    ran = bool((away > FAR * size).any())
    return away <= (NEAR if ran else FAR) * size


def around(points: Tensor, minima: Tensor) -> Tensor:
    """A box around points (p, 2) and those minima that they come near; at least a third as high as wide."""
    low, high = points.min(0).values, points.max(0).values
    reach = (high - low).max()
    minima = minima[((minima >= low - reach) & (minima <= high + reach)).all(1)]
    box = torch.cat([low[None], high[None], minima])
    low, high = box.min(0).values, box.max(0).values
    span = (high - low).max().item() or max(1.0, points.abs().max().item())
    middle = (low + high) / 2
    half = torch.maximum((high - low) * 0.7, torch.full((2,), 0.35 * span, dtype=torch.float64))
    return torch.stack([middle - half, middle + half], 1)


def shaped(bounds: Tensor, ratio: float) -> Tensor:
    """Bounds (2, 2) that are widened along one axis, so that the second is ``ratio`` times as long as the first."""
    wide, high = (bounds[:, 1] - bounds[:, 0]).tolist()
    side = max(wide, high / ratio)
    half = bounds.new_tensor([side, side * ratio]) / 2
    middle = bounds.mean(1)
    return torch.stack([middle - half, middle + half], 1)


def nearby(function: Function) -> float:
    """How far around the start to look: an eighth of the shortest side of the domain, or about the size of x."""
    size = float(beginning(function).abs().max())
    domain = function.domain
    if domain is not None and bool(domain.isfinite().all()):
        return float((domain[:, 1] - domain[:, 0]).min()) / 8
    return 1.25 * max(1.0, size / 10)
