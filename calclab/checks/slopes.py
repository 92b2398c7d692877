"""Derivatives along directions, measured from values alone: each with an error, kinks and jumps told from slopes.

Central quotients (F(x + h d) - F(x - h d)) / 2h at h = 1/4, 1/16, ... have errors in even powers of h, which
Neville's tableau takes away (`numerics.differences`); rounding grows like 1/h. A first look takes six steps, and is
enough where F is smooth. What does not settle there, or disagrees, is looked at down to the smallest steps that the
floats of x allow, with the noise of F measured (`taylor.scatter`): cancellation inside of F, float32 and bfloat16
inside of F show there.

The mean of the quotients on both sides says the slope, half their difference what is left: it falls like h where F is
differentiable, stays where F has a kink, and grows where it has a jump or a vertical tangent.

>>> x = torch.tensor([2.0, 3.0], dtype=torch.float64)
>>> found = measured(lambda p: (p**3).sum(-1, keepdim=True), x, torch.eye(2, dtype=torch.float64))
>>> [round(slope, 9) for slope in found.slope[:, 0].tolist()], bool((found.error < 1e-10).all())
([12.0, 27.0], True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite, log

import torch
from torch import Tensor

from calclab.numerics import differences, taylor

Values = Callable[[Tensor], Tensor]  # points (p, n) to values (p, m)

SHRINK = 4.0
FIRST, LAST = 6, 20  # steps of a first and of a full look, from h = 1/4 on
MOST = 44
NEAR = 8
SPACINGS = (2 / 3, 1 / 3)  # powers of eps: how far apart the points are that tell the noise
SCATTER = 4.0
CLEAR = 8.0  # times the noise: what is smaller says nothing
SMALL_TYPE = 2.0**-7  # stairs lower than this, beside the value, are a small type's rounding
FALLING = 0.85  # of what is left, from one step to the next: else there is a kink
WINDOW = 3


@dataclass
class Measured:
    """Of directions (p, n): ``slope`` and ``error`` (p, m), error infinite where nothing settles; ``singular`` (p, m):
    a kink, jump or vertical tangent; ``left`` and ``right`` slopes there; ``stairs`` (p, m): F stands still between
    jumps as high as a small type's rounding; ``varied`` (p, m): how steep F is on the way; ``quotients`` and ``noise``
    (k, p, m), of the full look only, where ``full`` (p,)."""

    slope: Tensor
    error: Tensor
    singular: Tensor
    left: Tensor
    right: Tensor
    stairs: Tensor
    varied: Tensor
    quotients: list[Tensor | None]
    noise: list[Tensor | None]

    def witnessed(self, i: int, j: int, given: float) -> bool:
        """Whether quotients at three steps in a row, clear of the noise, are off ``given`` by as much as the slope."""
        quotients, noise = self.quotients[i], self.noise[i]
        if quotients is None or noise is None:
            return False
        gap = float(self.slope[i, j]) - given
        off = quotients[:, j] - given
        good = ((off - gap).abs() <= 0.1 * abs(gap)) & (off.abs() > CLEAR * noise[:, j])
        return bool((good[2:] & good[1:-1] & good[:-2]).any())


def scales(x: Tensor) -> Tensor:
    """How far each variable is moved at h = 1: the power of two at or above max(1, |x_i|), so that steps are exact."""
    return torch.exp2(x.abs().clamp(min=1).log2().ceil())


def measured(
    values: Values,
    x: Tensor,
    directions: Tensor,
    noise: Tensor | None = None,
    agree: Tensor | None = None,
    tolerance: float = 4e-7,
) -> Measured:
    """The slopes of ``values`` at x (n,) along ``directions`` (p, n), which are of about the length of `scales`.

    ``noise`` (m,) is that of F at x, measured if it is not given. ``agree`` (p, m) are slopes claimed: directions in
    which a first look finds just these are looked at no further.
    """
    base = values(x[None])[0]
    sigma = noise_of(values, x, base) if noise is None else noise
    steps = [SHRINK ** -(k + 1) for k in range(FIRST)]
    ahead, behind = sides(values, x, directions, steps)
    found = look(x, base, ahead, behind, torch.tensor(steps, dtype=x.dtype, device=x.device), sigma)
    open_ = unsettled(found, ahead, behind, base, sigma, steps[-1], agree, tolerance)
    for i in torch.nonzero(open_).reshape(-1).tolist():
        full_look(values, x, base, directions[i], sigma, found, i, None if agree is None else agree[i])
    return found


def sides(values: Values, x: Tensor, directions: Tensor, steps: list[float]) -> tuple[Tensor, Tensor]:
    """F at x ± h d: two of (k, p, m)."""
    moves = torch.stack([h * directions for h in steps])  # (k, p, n)
    points = torch.cat([x + moves, x - moves]).reshape(-1, len(x))
    found = values(points).reshape(2, len(steps), len(directions), -1)
    return found[0], found[1]


def look(x: Tensor, base: Tensor, ahead: Tensor, behind: Tensor, h: Tensor, sigma: Tensor) -> Measured:
    eps = torch.finfo(x.dtype).eps
    h = h.reshape(-1, 1, 1)
    quotients = (ahead - behind) / (2 * h)
    noise = torch.maximum(eps * (ahead.abs() + behind.abs()), sigma) / h + 2 * eps * quotients.abs() / h
    slope, error = differences.extrapolate(quotients, noise, SHRINK)
    even = (ahead + behind - 2 * base) / (2 * h)
    varied = (quotients.abs() + even.abs()).nan_to_num(0, 0, 0)[:2].amax(0)
    none = torch.zeros_like(slope, dtype=torch.bool)
    blank: list[Tensor | None] = [None] * len(slope)
    return Measured(slope, error, none, slope.clone(), slope.clone(), none.clone(), varied, blank, list(blank))


def unsettled(
    found: Measured,
    ahead: Tensor,
    behind: Tensor,
    base: Tensor,
    sigma: Tensor,
    h: float,
    agree: Tensor | None,
    tolerance: float,
) -> Tensor:
    """Which directions (p,) need the full look."""
    eps = torch.finfo(base.dtype).eps
    size = found.slope.abs() if agree is None else torch.maximum(found.slope.abs(), agree.abs())
    largest = torch.maximum(found.varied, found.slope.abs()).amax(0)
    fine = 10 * found.error <= torch.maximum(tolerance * size, 1e-11 * largest)
    left = (ahead + behind - 2 * base).abs() / 2
    noise = torch.maximum(eps * (ahead.abs() + behind.abs()), sigma)
    last, before = left[-1] / h, left[-2] / (h * SHRINK)
    smooth = (
        (last <= 0.5 * before)
        | (left[-1] <= CLEAR * noise[-1])
        | (last <= 0.1 * tolerance * torch.maximum(size, largest))
    )
    still = (ahead[-1] == base) & (behind[-1] == base) & (ahead != base).any(0)  # flat near x, and not farther out
    good = fine & smooth & ~still & base.isfinite()
    if agree is not None:
        good &= (found.slope - agree).abs() <= 10 * found.error + torch.maximum(0.5 * tolerance * size, 1e-12 * largest)
    return ~good.all(-1)


@torch.no_grad()
def full_look(
    values: Values, x: Tensor, base: Tensor, d: Tensor, sigma: Tensor, found: Measured, i: int, given: Tensor | None
) -> None:
    """Put what all steps say of one direction into ``found``."""
    steps = [SHRINK ** -(k + 1) for k in range(-1, depth(x, d))]
    ahead, behind = (side[:, 0] for side in sides(values, x, d[None], steps))
    h = torch.tensor(steps, dtype=x.dtype, device=x.device).reshape(-1, 1)
    height = stair_height(base, ahead, behind, (ahead - behind) / (2 * h), given)
    size = torch.cat([base[None], ahead, behind]).abs().nan_to_num(0, 0, 0).amax(0)
    stairs = (height > 0) & (height <= SMALL_TYPE * size)
    sigma = torch.where(stairs, torch.maximum(sigma, height), sigma)
    whole = look(x, base, ahead[:, None], behind[:, None], h, sigma)
    eps = torch.finfo(x.dtype).eps
    quotients = (ahead - behind) / (2 * h)
    noise = torch.maximum(eps * (ahead.abs() + behind.abs()), sigma) / h + 2 * eps * quotients.abs() / h
    even = (ahead + behind - 2 * base) / (2 * h)
    found.slope[i], found.error[i], found.stairs[i] = whole.slope[0], whole.error[0], stairs
    found.varied[i] = torch.maximum(found.varied[i], whole.varied[0] * 0)
    found.quotients[i], found.noise[i] = quotients, noise
    for j in range(len(base)):
        kink = singular(even[:, j].tolist(), quotients[:, j].tolist(), noise[:, j].tolist())
        one, other = (bool(side[-WINDOW:, j].isfinite().all()) for side in (behind, ahead))
        if one != other:
            found.singular[i, j] = True
            found.left[i, j] = found.right[i, j] = torch.nan
        elif kink is not None:
            found.singular[i, j] = True
            found.left[i, j], found.right[i, j] = kink[0] - kink[1], kink[0] + kink[1]


def depth(x: Tensor, d: Tensor) -> int:
    """How many steps: so many that the smallest is small beside the smallest variable that moves."""
    if x.dtype != torch.float64:
        return 11
    moving = x[(d != 0) & (x != 0)].abs()
    least = float(moving.min()) if len(moving) else 1.0
    return LAST if least > 1e-6 or not isfinite(least) else min(MOST, ceil(log(2.0**8 / least) / log(SHRINK)))


def stair_height(base: Tensor, ahead: Tensor, behind: Tensor, quotients: Tensor, given: Tensor | None) -> Tensor:
    """(m,): the lowest jump of outputs that stand still at the smallest steps, and have a slope at larger ones, by the
    slope ``given`` or three quotients within a factor of 4; 0 of those that do not, as a step function."""
    still = ((ahead == base) & (behind == base)).any(0) & ((ahead != base) | (behind != base)).any(0)
    heights = torch.zeros_like(base)
    for j in torch.nonzero(still).reshape(-1).tolist():
        moving = (ahead[:, j] != base[j]) | (behind[:, j] != base[j])
        claimed = given is not None and float(given[j]) != 0
        if not claimed and not steady(quotients[moving, j].tolist()):
            continue
        seen = torch.cat([base[j : j + 1], ahead[:, j], behind[:, j]])
        gaps = seen[seen.isfinite()].sort().values.diff()
        gaps = gaps[gaps > 0]
        heights[j] = gaps.min() if len(gaps) else 0.0
    return heights


def steady(quotients: list[float]) -> bool:
    """Whether some three in a row are within a factor of 4: a slope, where that of one jump would grow 16-fold."""
    rows = zip(quotients, quotients[1:], quotients[2:], strict=False)
    return any(min(map(abs, row)) * 4 > max(map(abs, row)) and min(row) * max(row) > 0 for row in rows)


def singular(even: list[float], odd: list[float], noise: list[float]) -> tuple[float, float] | None:
    """Slope in the middle and half the jump of the slopes, where the last steps clear of the noise show no smaller
    difference between the sides than the ones before; likewise a slope that grows."""
    clear = [k for k, (e, s) in enumerate(zip(even, noise, strict=True)) if abs(e) > CLEAR * s]
    if len(clear) >= WINDOW and clear[-1] - clear[-WINDOW] == WINDOW - 1:
        a, b, c = (abs(even[k]) for k in clear[-WINDOW:])
        if b >= FALLING * a and c >= FALLING * b:
            return odd[clear[-1]], even[clear[-1]]
    sure = [k for k, (o, s) in enumerate(zip(odd, noise, strict=True)) if abs(o) > CLEAR * s]
    last = [abs(odd[k]) for k in sure[-6:]]
    if len(last) == 6 and all(b > 1.2 * a for a, b in pairwise(last)) and last[-1] > 50 * abs(odd[0]):
        return odd[sure[-1]], 0.0
    return None


@torch.no_grad()
def noise_of(values: Values, x: Tensor, base: Tensor) -> Tensor:
    """(m,): how far rounding moves F near x, beyond an ulp of its value.

    Points so close that only rounding bends F between them tell it (`taylor.scatter`). Where F stands still there, it
    may be computed in a smaller type: then points farther apart do.
    """
    maker = torch.Generator().manual_seed(7)
    d = (0.5 + torch.rand(len(x), generator=maker, dtype=torch.float64)).to(x) / len(x) ** 0.5
    d = d * torch.where(x == 0, 1, x.abs())
    eps = torch.finfo(x.dtype).eps
    rows = [torch.stack([x + i * eps**power * d for i in range(1, NEAR + 1)]) for power in SPACINGS]
    near, apart = (torch.cat([base[None], row]) for row in values(torch.cat(rows)).reshape(2, NEAR, -1))
    still = (near == base).all(0)
    return SCATTER * torch.where(still, taylor.scatter(apart), taylor.scatter(near)).to(x.dtype)
