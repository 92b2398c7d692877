"""Derivatives of a callable measured from both sides along its variables: kinks that autograd does not see, and slopes
that it loses (a norm at 0, equal eigenvalues, a product with a denormal).

One-sided quotients (φ(h) - φ(0))/h at h = 1, 1/4, 1/16, ... have errors in whole powers of h, which Neville's tableau
takes away; what is left of them, and rounding, says how far each limit can be off.

For f smooth on one side, f(x + h) = f(x) + f'₊(x) h + ½ f''₊(x) h² + ...: the quotient's error is a series in h, whose
terms Neville's scheme removes one by one. f of a square root, of a logarithm or of sin(1/x) has no such series, and its
quotients do not settle: then nothing is said. A kink found at steps down to 4^-18 may be a steep turn on a smaller
scale, so that one is looked at again from ever nearer before it is told. The cost is about 40 calls a variable.

>>> x = torch.tensor([0.0], dtype=torch.float64)
>>> gaps(lambda x: x.abs().sum(), x, 1, torch.tensor([0.0]), ["x"])[0].note
'kink in x: slope -1 from the left, 1 from the right'
>>> gaps(lambda x: (x**2).sum().sqrt() ** 2, x, 1, torch.tensor([torch.nan]), ["x"])[0].exists  # autograd has NaN
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan, nan
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.numerics import differences, taylor
from calclab.numerics.kinks import Gap, gap
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.tolerance import RICHARDSON, ROUND, tolerance_of

VARIABLES = 8  # beyond so many a Hessian is only measured where autograd's is not finite
MOST = 16  # and beyond so many nothing is
DIFFERENCES = 9  # second differences, from 1 to 4^-8
GROWTH = 1.005  # what grows without end, be it as a logarithm, grows by this much from one of these to the next
BENT = ("kink", "vertical")
CLOSER = 2.0**-10  # from one step to the next, where a kink is looked at from ever nearer
GROWING = 6  # steps over which quotients that grow without end must do so


def gaps(
    call: Callable[[Tensor], Tensor], x: Tensor, order: int, number: Tensor, names: Sequence[str]
) -> dict[int, Gap]:
    """Entries of the derivative ``number`` of ``order`` 1 (n,), (m, n) or 2 (n, n), by flat index, that are known
    otherwise than by autograd: not to exist, or to be a number where autograd has none; or not known at all.
    """
    n, finite = len(x), number.isfinite().reshape(-1)
    if n > MOST or (n > VARIABLES and order == 2 and bool(finite.all())) or not bool(x.isfinite().all()):
        return dict.fromkeys(torch.nonzero(~finite).reshape(-1).tolist(), UNKNOWN)
    first = gaps(call, x, 1, value_and_gradient(call, x)[1], names) if order == 2 else {}
    f = call if order == 1 else (lambda p: value_and_gradient(call, p)[1])
    every = [along(f, x, j) for j in range(n)]
    scale = max(sides.steep for sides in every)
    found: dict[int, Gap] = {}
    for j, sides in enumerate(every):
        for i in range(sides.left.numel()):
            k, of = i * n + j, f"slope in {names[j]}" if order == 1 else f"slope of ∂f/∂{names[i]}"
            none = next((first[at] for at in (i, j) if at in first and first[at].exists is False), None)
            here = none or judged(sides, i, scale, names[j], of, x.dtype)
            if order == 2 and here.exists and not bool(finite[k]) and not agrees(call, x, i, j, here.value, scale):
                here = Gap(None, nan, "", f"{of} as autograd has it is not what the values of f say")
            if none is None and here.reason in BENT and not stays(f, x, j, i, float(sides.right[i] - sides.left[i])):
                here = Gap(None, nan, "", f"what looks like a kink in {names[j]} is none at smaller steps")
            if here.exists is False or not bool(finite[k]):
                found[k] = here
    return found


UNKNOWN = Gap(None, nan, "", "autograd gives no finite number, and there are too many variables to measure it")


class Sides(NamedTuple):
    """The slopes of a map to (m,) in one variable, from the left and from the right, with their errors, all (m,): NaN
    where the map has no value on that side, infinite where quotients grow without end. ``steep`` is the steepest that
    it is on the way, and at least what rounding cannot be told from."""

    left: Tensor
    left_error: Tensor
    right: Tensor
    right_error: Tensor
    steep: float


@torch.no_grad()
def along(f: Callable[[Tensor], Tensor], x: Tensor, j: int) -> Sides:
    """f (n,) to () or (m,) looked at from both sides of x_j."""
    d = torch.zeros_like(x)
    d[j] = x[j].abs().clamp(min=1)
    steps = [taylor.SHRINK**-k for k in range(taylor.LEVELS[x.dtype == torch.float64])]
    pairs = [(f(x + s * d).reshape(-1), f(x - s * d).reshape(-1)) for s in steps]
    base = f(x).reshape(-1).to("cpu", torch.float64)
    ahead, behind = (torch.stack(side).to("cpu", torch.float64) for side in zip(*pairs, strict=True))
    h = torch.tensor(steps, dtype=torch.float64)[:, None] * float(d[j])
    eps = torch.finfo(x.dtype).eps
    between = differences.extrapolate((ahead + behind) / 2, eps * (ahead.abs() + behind.abs()), taylor.SHRINK)[0]
    start = torch.where(base.isfinite(), base, between)
    limits, steep = [], ROUND * float(start.abs().nan_to_num(0, 0).max()) / float(d[j])
    for side, sign in ((behind, -1.0), (ahead, 1.0)):
        slopes = (side - start) / (sign * h)
        size = side.abs().nan_to_num(0, 0, 0).amax(0) + start.abs()  # what terms that cancel may have been
        noise = 4 * eps * (size / h + slopes.abs() * (1 + float(x[j].abs()) / h))
        limit, error = differences.extrapolate(slopes, noise, taylor.SHRINK**0.5)
        last = slopes[-GROWING:].abs()
        grows = (last[1:] > 1.2 * last[:-1]).all(0) & (last[-1] > 1e3 * slopes[0].abs())
        change = side[-GROWING:].diff(dim=0).abs()  # and yet it has a limit: else the steps are longer than its waves
        grows &= (last > 8 * noise[-GROWING:]).all(0) & (
            (change[1:] < change[:-1] / 1.2) | (change[1:] <= 4 * eps * size)
        ).all(0)
        limit = torch.where(grows, torch.copysign(torch.full_like(limit, inf), slopes[-1]), limit)
        limits += [limit.masked_fill((~side[-GROWING:].isfinite()).all(0), nan), error.masked_fill(grows, 0.0)]
        steep = max(steep, float(slopes.abs().nan_to_num(0, 0).max()))
    return Sides(limits[0], limits[1], limits[2], limits[3], steep)


@torch.no_grad()
def stays(f: Callable[[Tensor], Tensor], x: Tensor, j: int, i: int, jump: float) -> bool:
    """Whether slopes from both sides of x_j go on to differ by ``jump``, or to grow where it is not finite, at steps
    down to the smallest that floats can take, as far as rounding lets that be seen: near 0 these are far smaller than
    those it was found at (not so small that squares underflow)."""
    start, eps, most = f(x).reshape(-1)[i].double(), torch.finfo(x.dtype).eps, 0.0
    if not bool(start.isfinite()):
        return True
    d, h = torch.zeros_like(x), float(x[j].abs().clamp(min=1)) * eps
    least = float(x[j].abs()) * 4 * eps if float(x[j]) else torch.finfo(x.dtype).tiny ** 0.4
    while h > least:
        d[j] = h
        sides = torch.stack([f(x + s * d).reshape(-1)[i].double() for s in (1, -1)])
        grown = float((sides - start).abs().nan_to_num(0, 0).max()) / h
        seen = float(sides.sum() - 2 * start) / h
        size = float(sides.abs().nan_to_num(0, 0).sum() + start.abs())
        if not 8 * eps * size <= 0.01 * (abs(jump) if abs(jump) < inf else max(grown, most)) * h:
            break  # only rounding would be seen
        if abs(seen - jump) > 0.1 * abs(jump) if abs(jump) < inf else grown < GROWTH * most:
            return False
        most, h = grown, h * CLOSER
    return True


@torch.no_grad()
def agrees(call: Callable[[Tensor], Tensor], x: Tensor, i: int, j: int, value: float, scale: float) -> bool:
    """Whether second differences of f itself say the same of ∂²f/∂x_i∂x_j: a gradient that is wrong has slopes too."""
    u, v = (torch.zeros_like(x) for _ in range(2))
    u[i], v[j] = x[i].abs().clamp(min=1), x[j].abs().clamp(min=1)
    found, noise = [], []
    for k in range(DIFFERENCES):
        h = taylor.SHRINK**-k
        corners = [float(call(x + h * (a * u + b * v))) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        area = 4 * h * h * float(u[i] * v[j])
        found.append((corners[0] - corners[1] - corners[2] + corners[3]) / area)
        noise.append(torch.finfo(x.dtype).eps * sum(map(abs, corners)) / area)
    quotients, rounding = (torch.tensor(part, dtype=torch.float64) for part in (found, noise))
    limit, error = differences.extrapolate(quotients, rounding, taylor.SHRINK)
    return abs(float(limit) - value) <= RICHARDSON * float(error) + 10 * ROUND * max(scale, abs(value))


def judged(sides: Sides, i: int, scale: float, name: str, of: str, dtype: torch.dtype) -> Gap:
    """What the slopes of entry i say; they must be known well beside how steep things are nearby, ``scale``."""
    one, one_error, other, other_error = (float(part[i]) for part in sides[:4])
    rule, bound = tolerance_of(dtype), RICHARDSON * (one_error + other_error)
    ends = isnan(one) != isnan(other)
    if not ends and not bound <= rule.resolve * max(abs(one), abs(other), scale):
        return Gap(None, nan, "", f"the quotients in {name} do not settle on both sides")
    size = max(abs(one), abs(other))
    if size < inf and abs(one - other) <= max(bound, 10 * rule.refute * size):
        middle = (one + other) / 2 + 0.0
        return Gap(True, middle, "", f"{of} {middle:.10g} from both sides, measured")
    limits = (one, one_error), (other, other_error)
    left, right = (v + 0.0 if error <= rule.resolve * max(abs(v), scale) else nan for v, error in limits)
    return gap(left, right, name, of, ends=ends)
