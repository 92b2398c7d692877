"""What each step shows, computed for a whole block of steps at once.

Row k speaks of x_k and of the step s = x_k - x_{k-1} that led there. Sums over coordinates are taken one coordinate
after the other, so that a row's bits depend neither on how blocks fall nor on how many runs share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from calclab.core import Column

Inner = Mapping[str, Tensor]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_i a_i b_i over the last axis, of few entries."""
    return reduce(torch.add, (a * b).unbind(-1))


def vecdot(a: Tensor, b: Tensor) -> Tensor:
    """The same of many entries."""
    return torch.linalg.vecdot(a, b)


def products(g: Tensor, s: Tensor, b: Tensor, dot: Callable[[Tensor, Tensor], Tensor] = dot) -> dict[str, Tensor]:
    """The inner products that a step's numbers are made of; ``b`` is the gradient at x_{k-1}."""
    return {"g·g": dot(g, g), "s·s": dot(s, s), "s·g": dot(s, g), "b·b": dot(b, b), "s·b": dot(s, b)}


def rescued(norm: Tensor, a: Tensor) -> Tensor:
    """``norm``, the root of Σ a²; found anew where that sum is beyond the largest float and ‖a‖ is not."""
    if bool(norm.isinf().any()):
        most = reduce(torch.maximum, a.abs().unbind(-1))
        scale = torch.where(most.isfinite() & (most > 0), most, 1.0)
        scaled = a / scale.unsqueeze(-1)
        norm = torch.where(norm.isinf(), scale * dot(scaled, scaled).sqrt(), norm)
    return norm


def trace(steps: Sequence[int], inner: Inner, g: Tensor | None = None) -> dict[str, Column]:
    """Columns over ``steps`` of inner products (N, ...), those of the step itself without the row of k = 0.

    gradient_norm ‖g_k‖, rescued where the gradients ``g`` (N, ..., n) are given; step_length ‖s‖; cosine of s with
    -g_{k-1}; curvature sᵀ(g_k - g_{k-1}) / sᵀs, which is the mean of sᵀHs / sᵀs along the step; contraction
    ‖g_k‖ / ‖g_{k-1}‖.
    """
    norm, moved, before = inner["g·g"].sqrt(), inner["s·s"].sqrt(), inner["b·b"].sqrt()
    moving = {
        "cosine": -inner["s·b"] / (moved * before),
        "curvature": (inner["s·g"] - inner["s·b"]) / inner["s·s"],
        "contraction": norm / before,
    }
    start = int(steps[0] == 0)
    return {
        "gradient_norm": Column(steps, norm if g is None else rescued(norm, g)),
        "step_length": Column(steps, moved),
        **{name: Column(steps[start:], data[start:]) for name, data in moving.items()},  # empty in a block of step 0
    }


def distance(x: Tensor, minima: Tensor) -> Tensor:
    """The distance (N, ...) of x (N, ..., n) to the nearest of ``minima`` (p, n)."""
    squares = [dot(x - minimum, x - minimum) for minimum in minima]
    return reduce(torch.minimum, squares).sqrt()


def earlier(first: Tensor, rows: Tensor) -> Tensor:
    """The row before each row (N, ...): ``first`` before the first."""
    return torch.cat([first.to(rows)[None], rows[:-1]])
