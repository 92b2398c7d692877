"""Evidence for a descent: f and ∇f of some of its steps.

Gaps are relative to the size at the start, since what is lost of f on the way down cannot be had back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import Evidence, Function
from calclab.numerics.verify import check_gradient, check_gradients, check_value
from calclab.topic.descent.stopping import at_start, scale_at_start


class Size(NamedTuple):
    """|f| and ‖g‖ at a start, which gaps are relative to; |f| is 0 where it is not finite, and of a callable ‖g‖ is at
    least 1."""

    height: float
    steepness: float


def size_at_start(function: Function) -> Size:
    f0, g0 = at_start(function)
    known = function.exact is not None and isfinite(g0)
    return Size(abs(f0) if isfinite(f0) else 0.0, g0 if known else scale_at_start(function)[1])


def check_step(f: Function, x: Tensor, loss: Tensor, gradient: Tensor, k: int, size: Size) -> list[Evidence]:
    """Evidence for f (), ∇f (n,) at the point x (n,) of step k: of a callable f only at the start."""
    if not bool(torch.isfinite(x).all()):
        return []
    evidence = check_loss(f, x, loss, k, size) if k == 0 or f.exact is not None else []
    return evidence + check_gradient(f, x, gradient, k, scale=size.steepness)


def check_loss(f: Function, x: Tensor, loss: Tensor, k: int, size: Size) -> list[Evidence]:
    """Later on relative to |f| at the start, as far as it fell."""
    return check_value(f, x, loss, k, scale=0.0 if k == 0 else size.height)


def check_steps(
    f: Function, x: Tensor, loss: Tensor, gradient: Tensor, k: int, start: Sequence[Size]
) -> Iterator[Sequence[Evidence]]:
    """What `check_step` says of each of the points x (runs, n) in step k, with the size at the start of each."""
    there = x.isfinite().all(-1).tolist()
    steepness = [size.steepness for size, ok in zip(start, there, strict=True) if ok]
    rows = iter(check_gradients(f, x[there], gradient[there], k, steepness))
    for i, (size, ok) in enumerate(zip(start, there, strict=True)):
        losses = check_loss(f, x[i], loss[i], k, size) if ok and (k == 0 or f.exact is not None) else []
        yield [*losses, *next(rows)] if ok else []
