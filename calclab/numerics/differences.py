"""Difference quotients of f along a direction v, in the dtype of x; f may take (n,) to () or to an array.

``richardson`` extrapolates central quotients to h = 0 and says how far off it may be: Ridders (1982), "Accurate
computation of F'(x) and F'(x)F''(x)", with a selection that believes no step which smaller steps contradict.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Call = Callable[[Tensor], Tensor]

SHRINK = 2.0  # of the step from one quotient to the next
DOUBT = 8.0  # times its rounding: what a smaller step must differ by to deny a larger one
EXTRAPOLATIONS = 4  # quotients combined at most: the error is then O(h^10)


@torch.no_grad()
def forward(f: Call, x: Tensor, v: Tensor, h: float | Tensor) -> Tensor:
    """(f(x + h v) - f(x)) / h, error O(h)."""
    return (f(x + h * v) - f(x)) / h


@torch.no_grad()
def central(f: Call, x: Tensor, v: Tensor, h: float | Tensor) -> Tensor:
    """(f(x + h v) - f(x - h v)) / 2h, error O(h²)."""
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


@torch.no_grad()
def richardson(f: Call, x: Tensor, v: Tensor, h: float = 1.0, *, levels: int | None = None) -> tuple[Tensor, Tensor]:
    """f'(x) v and an estimate of its error, each of the shape of f(x), from steps h, h/2, h/4, ...

    ``levels`` steps are taken; None goes down to where rounding has eaten half of the digits.
    """
    eps = torch.finfo(x.dtype).eps
    if levels is None:
        levels = 26 if x.dtype == torch.float64 else 13
    steps = [h / SHRINK**k for k in range(levels)]
    pairs = [(f(x + s * v), f(x - s * v)) for s in steps]
    ahead, behind = (torch.stack(side) for side in zip(*pairs, strict=True))
    h_ = torch.tensor(steps, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (ahead.ndim - 1))
    return extrapolate((ahead - behind) / (2 * h_), eps * (ahead.abs() + behind.abs()) / h_, SHRINK)


def extrapolate(quotients: Tensor, noise: Tensor, shrink: float) -> tuple[Tensor, Tensor]:
    """The limit of quotients (k, ...) with errors in even powers of h, h divided by ``shrink`` each time, and an
    estimate of its error; ``noise`` (k, ...) is the rounding in each. Entrywise the column of Neville's tableau and
    the step that promise the least error.

    The error of an entry is the largest of its noise, its distance from the same column at the next smaller step,
    and whatever a smaller step denies beyond that step's own noise.
    """
    best = torch.full_like(quotients[0], torch.nan)
    least = torch.full_like(quotients[0], torch.inf)
    column, rounding = quotients, noise
    for order in range(EXTRAPOLATIONS + 1):
        if order:
            power = shrink ** (2 * order)
            column = (power * column[1:] - column[:-1]) / (power - 1)
            rounding = (power * rounding[1:] + rounding[:-1]) / (power - 1)
        if len(column) < 2:
            break
        gaps = (column[:, None] - column[None, :]).abs()
        later = torch.ones(len(column), len(column), dtype=torch.bool, device=column.device).triu(1)
        later = later.reshape(*later.shape, *[1] * (column.ndim - 1))
        denied = torch.where(later & gaps.isfinite(), gaps - DOUBT * rounding[None, :], -torch.inf).amax(1)
        change = torch.cat([gaps.diagonal(1).movedim(-1, 0), torch.full_like(column[:1], torch.inf)])
        error = torch.stack([rounding, denied, change]).nan_to_num(nan=torch.inf, neginf=0).amax(0)
        error = torch.where(column.isfinite(), error, torch.inf)
        smallest, index = error.min(0)
        better = smallest < least
        best = torch.where(better, column.gather(0, index[None])[0], best)
        least = torch.where(better, smallest, least)
    return best, least
