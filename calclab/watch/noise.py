"""The gradient noise scale: how many rows a batch needs before its gradient is mostly signal.

Of rows drawn independently let G be the expected gradient and Σ the covariance of a row's. The gradient of B rows has
the squared length ‖G‖² + tr Σ / B on average, so that both can be told from two sizes of batch. A batch of B = m·b rows
is parted into m groups of b, with gradients g_1, ..., g_m and mean ḡ. Then

    S = b/(m-1) Σ_j ‖g_j - ḡ‖²,    N = ‖ḡ‖² - S/B,    noise scale = S/N,

S and N being without bias for tr Σ and ‖G‖² (McCandlish et al. 2018, arXiv 1812.06162, appendix A.1, of b and B rows,
averaged over the groups). Below S/N rows a batch twice as large allows a step nearly twice as long; far above it gains
nothing (section 2.2 there).

Errors are standard errors by the jackknife over the groups (Efron and Stein 1981): with the estimates θ_j of all groups
but the j-th and their mean, se² = (m-1)/m Σ_j (θ_j - θ̄)². Where N cannot be told from 0 at 95 % (Student, m - 1 degrees
of freedom), the ratio says nothing, and only how much it is at least is read. Over the looks before, S and N are
averaged, which tells small gradients from none; there the error is that over the looks, which also holds how the scale
has moved meanwhile.

>>> groups = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 2.0], [3.0, -2.0]])
>>> found = estimate(spread([[gradient] for gradient in groups]), rows=5)
>>> found.trace, found.squared  # 5/3 of 12, and 4 less a twentieth of it
(20.0, 3.0)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from calclab.numerics.krylov.student import quantile
from calclab.watch.moment import Moment, Reading
from calclab.watch.norms import brought, real
from calclab.watch.objective import nested

GROUPS, LEAST = 8, 3  # into which a batch is parted; of a large network
HELD = 2**28  # bytes, at most, of the gradients of all groups, where these are more than the least
NORMALISED = 8  # rows of a group, at least, of a network that normalises over the batch
POOLED = 20  # looks, at most, over which estimates are averaged
CONFIDENCE = 0.95


class Noise:
    """The look, and the loss by the way. Groups keep the order of the rows, which are taken to be independent."""

    name = "noise"
    cost = 4.0
    batch = True

    def take(self, moment: Moment) -> list[Reading]:
        size = sum(p.numel() * p.element_size() for p in moment.parameters.values())
        parts = list(parted(moment.batches, min(GROUPS, max(LEAST, HELD // max(1, size))), least(moment.model)))
        if len(parts) < 2:
            raise RuntimeError("the batch has no two rows to be compared")
        rows = rows_of(parts[0])
        gradients, losses = gradients_of(moment, parts)
        if "sums" not in moment.memory:
            with torch.no_grad():
                moment.memory["sums"] = sums(float(moment.loss()), losses, len(moment.batches))
        loss = sum(losses) / (len(moment.batches) if moment.memory["sums"] else len(losses))
        found = estimate(spread(gradients, 1 / rows if moment.memory["sums"] else 1.0), rows)
        if not isfinite(found.trace):
            return [Reading("loss/loss", loss)]
        before = moment.memory.setdefault("before", deque(maxlen=POOLED))
        before.append((found.trace, found.squared))
        return [Reading("loss/loss", loss), *readings(found), *pooled(before)]


# --- the batch in groups ----------------------------------------------------------------------------------------------


def parted(batches: Sequence[Any], groups: int, least: int = 1) -> Iterator[Any]:
    """The batches in at most about ``groups`` parts of equally many rows, at least ``least``; what is over is left out.

    >>> [len(part[0]) for part in parted([(torch.zeros(13, 2), torch.zeros(13))], 4)]
    [3, 3, 3, 3]
    """
    counts = [rows_of(batch) for batch in batches]
    if not counts or min(counts) < 1:
        return
    each = max(1, groups // len(counts))
    rows = max(min(counts) // each, min(least, min(counts)), 1)
    for batch, count in zip(batches, counts, strict=True):
        for first in range(0, count - rows + 1, rows):
            yield rows_from(batch, count, first, first + rows)


def rows_of(batch: Any) -> int:
    """How many rows a batch has: the length of its first tensor that has one."""
    found: list[int] = []
    nested(batch, lambda tensor: found.append(len(tensor)) if tensor.ndim else None)
    if not found:
        raise RuntimeError(f"a batch that is a {type(batch).__name__} has no rows to be told apart")
    return found[0]


def rows_from(batch: Any, count: int, first: int, stop: int) -> Any:
    """Some rows of all tensors that have ``count``."""
    return nested(batch, lambda tensor: tensor[first:stop] if tensor.ndim and len(tensor) == count else tensor)


def least(model: nn.Module) -> int:
    """How many rows a group has at least."""
    kinds = (nn.modules.batchnorm._BatchNorm,)
    return NORMALISED if any(isinstance(part, kinds) and part.training for part in model.modules()) else 1


def gradients_of(moment: Moment, parts: Sequence[Any]) -> tuple[list[list[Tensor]], list[float]]:
    """The gradient of each part, a tensor for each parameter, and its loss; each with draws of its own."""
    leaves = moment.leaves()
    every, losses = [], []
    for j, part in enumerate(parts):
        loss = moment.loss(leaves, part, draw=j)
        slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        every.append([real(slope if slope.layout == torch.strided else slope.to_dense()) for slope in slopes])
        losses.append(loss.detach())
    return every, torch.stack(losses).tolist()


def sums(whole: float, parts: Sequence[float], batches: int) -> bool:
    """Whether a loss adds rows up: that of a whole batch is then nearer to the sum of its parts than to their mean."""
    mean = sum(parts) / len(parts)
    return mean != 0 and abs(whole / mean) > sqrt(len(parts) / batches)


# --- the estimate -----------------------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """‖ḡ‖², and of each group ‖g_j - ḡ‖² and ⟨ḡ, g_j - ḡ⟩: all that estimate and jackknife ask for."""

    squared: float
    apart: list[float]
    along: list[float]


def spread(gradients: Sequence[Sequence[Tensor]], scale: float = 1.0) -> Spread:
    """Of the gradients of the groups, each in parts (n,), times ``scale``; one transfer to the CPU.

    ‖g_j - ḡ‖² is ‖g_j‖² - 2⟨ḡ, g_j⟩ + ‖ḡ‖², so that no difference is written: in float32 it is right to about 1e-5 of
    ‖ḡ‖², which is far below what can be told of it.
    """
    count = len(gradients)
    mean = [part.clone() for part in gradients[0]]
    for gradient in gradients[1:]:
        torch._foreach_add_(mean, list(gradient))
    torch._foreach_mul_(mean, 1 / count)
    pairs = [(a, b) for gradient in gradients for a, b in ((gradient, gradient), (gradient, mean))]
    found = brought([torch.dot(x, y) for a, b in [*pairs, (mean, mean)] for x, y in zip(a, b, strict=True)])
    parts = len(mean)
    sums = [scale * scale * sum(found[i : i + parts]) for i in range(0, len(found), parts)]
    squared, own, along = sums[-1], sums[:-1:2], sums[1:-1:2]
    apart = [nonnegative(a - 2 * b + squared) for a, b in zip(own, along, strict=True)]
    return Spread(squared, apart, [b - squared for b in along])


@dataclass(frozen=True)
class Estimate:
    """tr Σ, ‖G‖² and their ratio, each with its standard error (NaN of two groups), and what ‖G‖² is at most."""

    trace: float
    trace_error: float
    squared: float
    squared_error: float
    scale: float
    scale_error: float
    most: float


def estimate(found: Spread, rows: int) -> Estimate:
    """From groups of ``rows`` each: see the module's docstring.

    Without the j-th group the mean moves by -(g_j - ḡ)/(m-1), and the sum of squares loses m/(m-1) ‖g_j - ḡ‖², so that
    no gradient is looked at again.
    """
    m, total = len(found.apart), sum(found.apart)
    trace, squared = of(total, found.squared, m, rows)
    if m < 3:
        return Estimate(trace, nan, squared, nan, ratio(trace, squared), nan, inf)
    left = [
        of(total - m / (m - 1) * apart, found.squared - 2 * along / (m - 1) + apart / (m - 1) ** 2, m - 1, rows)
        for apart, along in zip(found.apart, found.along, strict=True)
    ]
    errors = [jackknife([pair[i] for pair in left]) for i in (0, 1)]
    error = jackknife([ratio(*pair) for pair in left])
    most = squared + quantile(m - 1, CONFIDENCE) * errors[1]
    return Estimate(trace, errors[0], squared, errors[1], ratio(trace, squared), error, most)


def of(apart: float, squared: float, m: int, rows: int) -> tuple[float, float]:
    """S and N from Σ‖g_j - ḡ‖² and ‖ḡ‖² of m groups."""
    trace = nonnegative(rows * apart / (m - 1))
    return trace, squared - trace / (m * rows)


def nonnegative(value: float) -> float:
    """0 for what rounding made negative; NaN stays."""
    return 0.0 if value < 0 else value


def ratio(trace: float, squared: float) -> float:
    return trace / squared if squared > 0 else inf


def jackknife(left: Sequence[float]) -> float:
    """The standard error from the estimates that leave out one group each."""
    m, mean = len(left), sum(left) / len(left)
    return sqrt((m - 1) / m * sum((value - mean) ** 2 for value in left)) if abs(mean) < inf else nan


def readings(found: Estimate) -> Iterator[Reading]:
    """Those of one look."""
    by = "standard error"
    yield Reading("noise/trace", found.trace, found.trace_error, by)
    yield Reading("noise/gradient_squared", found.squared, found.squared_error, by)
    if 2 * found.squared > found.most:  # more than its half width from 0
        yield Reading("noise/scale", found.scale, found.scale_error, by)
    elif 0 < found.most < inf:
        yield Reading("noise/scale_at_least", found.trace / found.most)


def pooled(before: Sequence[tuple[float, float]]) -> Iterator[Reading]:
    """The ratio of the means over the looks."""
    m = len(before)
    if m < 3:
        return
    sums = [sum(pair[i] for pair in before) for i in (0, 1)]
    left = [ratio(sums[0] - trace, sums[1] - squared) for trace, squared in before]
    value, error = ratio(*sums), jackknife(left)
    if value < inf and error == error and error < value:
        yield Reading("noise/scale_pooled", value, error, f"standard error over {m} looks")
