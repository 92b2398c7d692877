"""A function's values at points and on a grid over a plane, at a cost that is bounded, and the levels to draw."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from calclab.core import Function
from calclab.figure.records import Field

GRID, SLOW_GRID = 121, 41  # points along an axis; the smaller one where every point is a call of its own
HUGE = 1e60
CHEAP = 1_000_000  # bytes of the graph of one evaluation
ENTRIES = 4_000_000  # of the points evaluated at once


def field(
    function: Function, bounds: Tensor, count: int = GRID, place: Callable[[Tensor], Tensor] | None = None
) -> Field:
    """The function over a grid within ``bounds`` (2, 2): by vmap, else point by point on a coarser grid.

    ``place`` takes points of the grid (p, 2) to those of the function (p, n).
    """
    place = place or (lambda points: points)
    x, y, points = grid(bounds, count)
    z = batched(function, place(points))
    if z is None:
        x, y, points = grid(bounds, min(count, SLOW_GRID))
        z = one_by_one(function, place(points))
    z = z.reshape(len(y), len(x))
    rows = tuple(tuple(row) for row in z.tolist())
    return Field(tuple(x.tolist()), tuple(y.tolist()), rows, levels(z))


def values(function: Function, points: Tensor) -> Tensor:
    """f (p,), or (p, m), at points (p, n) in float64 on the CPU; NaN where it is not finite, or cannot be had."""
    z = batched(function, points)
    return one_by_one(function, points) if z is None else z


def batched(function: Function, points: Tensor) -> Tensor | None:
    """By vmap, many points at a time; None where the call cannot be batched: branches on values, in-place work."""
    chunk = max(1, ENTRIES // max(1, points.shape[1]))
    if function.exact is None:
        chunk = min(chunk, max(1, 8 * ENTRIES // max(1, saved_bytes(function))))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            z = torch.func.vmap(function.call, chunk_size=chunk)(points.to(function.start))
        except Exception:
            return None
    return tame(z)


def one_by_one(function: Function, points: Tensor) -> Tensor:
    shape = (len(function.outputs),) if function.outputs else ()

    def value(point: Tensor) -> Tensor:
        try:
            return function.call(point)
        except Exception:  # a matrix that is singular there, say
            return torch.full(shape, torch.nan)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tame(torch.stack([value(point).cpu().double() for point in points.to(function.start)]))


def tame(z: Tensor) -> Tensor:
    z = z.detach().cpu().double()
    return torch.where(z.abs() < HUGE, z, torch.nan)


def cheap(function: Function) -> bool:
    """Whether many points cost little: of a formula, or of a callable whose graph is small."""
    return function.exact is not None or saved_bytes(function) < CHEAP


def saved_bytes(function: Function) -> int:
    """Of the graph of one evaluation: what it costs, measured without a clock, so that a picture is the same again."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    try:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            function.call(function.start.detach().requires_grad_())
    except Exception:
        return 0
    return sum(sizes)


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
