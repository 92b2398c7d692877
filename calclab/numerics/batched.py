"""Values of a function at many points: in one pass of ``torch.func.vmap`` where that is right and quicker.

Small functions spend their time in Python: forty points of a network with sixty parameters cost one pass hardly more
than a single one. How many points go together follows from what one evaluation makes, counted and not timed, so that
the same question has the same bytes again.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function
from calclab.core.mode import Mode
from calclab.numerics.tolerance import tolerance_of

NUMBERS = 2**20  # that the points of one pass may make together
FEWEST = 4  # points for which a pass pays


class Counter(Mode):
    """Counts the numbers that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numbers += sum(t.numel() for t in (made if isinstance(made, tuple) else (made,)) if isinstance(t, Tensor))
        return made


def shared(function: Function) -> bool:
    """Do several points of it share a pass?"""
    return function.once("points at once", points_at_once) >= FEWEST


@torch.no_grad()
def along(function: Function, x: Tensor, ds: Tensor, steps: Tensor) -> Tensor:
    """f at x + s d for points x (p, n), each with its direction d of ds (p, n), and steps s (k,), of a function whose
    points are `shared`: (p, k), or (p, k, m) of m outputs.

    >>> import calclab
    >>> f = calclab.function(lambda x: (x**2).sum(), at=[1.0, 2.0])
    >>> along(f, f.start.expand(2, 2), torch.eye(2, dtype=f.start.dtype), torch.tensor([0.0, 1.0])).tolist()
    [[5.0, 8.0], [5.0, 10.0]]
    """
    width = function.once("points at once", points_at_once)
    call = torch.func.vmap(function.call)
    places = torch.cartesian_prod(torch.arange(len(ds), device=x.device), torch.arange(len(steps), device=x.device))
    parts = (places[i : i + width].T for i in range(0, len(places), width))
    found = torch.cat([call(x[i] + steps[k].unsqueeze(1) * ds[i]) for i, k in parts])
    return found.reshape(len(ds), len(steps), *found.shape[1:])


def slopes(function: Function, x: Tensor, ds: Tensor) -> Tensor:
    """The forward mode's derivatives at points x (p, n) along their directions ds (p, n), in the type of x: (p,)."""

    def slope(point: Tensor, d: Tensor) -> Tensor:
        moved: Tensor = torch.func.jvp(function.call, (point,), (d,))[1]
        return moved

    width = function.once("points at once", points_at_once)
    return torch.func.vmap(slope, chunk_size=width)(x, ds).to(x.dtype)


@torch.no_grad()
def one_by_one(function: Function, x: Tensor, ds: Tensor, steps: Tensor) -> Tensor:
    """What `along` gives, each point by itself."""
    return torch.stack([torch.stack([function.call(p + s * d) for s in steps]) for p, d in zip(x, ds, strict=True)])


@torch.no_grad()
def points_at_once(function: Function) -> int:
    """How many points may share a pass; 1 where ``vmap`` does not know the function, or gives other values."""
    x = function.start
    points = torch.stack([x, x + 0.0625 * x.abs().clamp(min=1)])
    try:
        with Counter() as counter:
            function.call(x)
        width = NUMBERS // max(1, counter.numbers)
        if width < FEWEST:
            return 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what has no rule for batches is done one by one, and says so
            together = torch.func.vmap(function.call)(points)
        alone = torch.stack([function.call(point) for point in points])
    except Exception:  # of a user's code, or of what torch.func does not know
        return 1
    rule = tolerance_of(function.inside or function.start.dtype)
    same = torch.allclose(together, alone, rtol=rule.identity, atol=rule.identity, equal_nan=True)
    return width if same else 1
