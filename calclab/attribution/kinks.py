"""∫ ∂t/∂x along a segment, exactly, for piecewise linear networks: every kink on the way, and one gradient a piece.

A network of linear layers and ReLUs is affine on each cell of a partition of its input space (Montúfar et al. 2014), so
that along a segment t is piecewise linear in α and its gradient piecewise constant:

    ∫₀¹ ∂t/∂x dα = Σ_i (α_{i+1} - α_i) ∂t/∂x((α_i + α_{i+1}) / 2),    α_i the kinks

What goes into the first ReLUs is linear along the segment, so that their kinks follow from its ends. Between those
kinks, what goes into the second ones is linear; and so on, one operation after the other. Of a chain this is read from
its layers; of any other module from the operations themselves as they are carried out (a ``TorchDispatchMode``), be
they modules or functions: ReLU, leaky ReLU, hardtanh, clamp, abs, maximum, minimum, PReLU, max-pooling. The number of
pieces on a segment is about the number of units that switch on it, far below the number of cells (Hanin and Rolnick
2019, Complexity of linear regions).

>>> A = torch.tensor([[0.0, 1.0]])  # one row, from α = 0 to 1
>>> lines = torch.tensor([[[-1.0, 2.0], [3.0, 2.0]]])  # two units: -1 to 3, and 2 all the way
>>> [(row.tolist(), α.tolist()) for row, α in crossings([(lines, (0.0,))], A)]
[([0], [0.25])]
>>> merged(A, torch.tensor([0]), torch.tensor([0.25]))
tensor([[0.0000, 0.2500, 1.0000]])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from calclab.attribution.chain import Chain
from calclab.attribution.model import Whole
from calclab.attribution.quadrature import Segment
from calclab.attribution.question import Question
from calclab.attribution.recording import kinks as number_of_kinks
from calclab.core.mode import Mode

aten = torch.ops.aten

Lines = tuple[Tensor, tuple[float, ...]]  # (..., M) linear between points, with kinks at these levels
Stage = Callable[[Tensor, Tensor], list[Lines] | Tensor]


class TooManyError(Exception):
    """More pieces than allowed, or an operation that is not understood: quadrature is next."""


def exact(q: Question, path: Segment, pieces: int) -> tuple[Tensor, Tensor]:
    """Values (b, d), and Σ_pieces |contribution| (b, d), what rounding is relative to; or ``TooManyError``.

    One gradient a piece, at its middle, where no unit is at its kink; pieces of no width, which rounding leaves between
    kinks that coincide, are left out.
    """
    A = breakpoints(q, path, pieces)
    width = A.diff(dim=1)
    inside = width > 0
    row, k = inside.nonzero().unbind(1)
    w = width[row, k]
    middle = A[row, k] + w / 2
    counts = inside.sum(1)
    parts = []
    for low in range(0, len(row), q.points):
        part = slice(low, low + q.points)
        r = row[part]
        points = torch.lerp(path.start[r], path.end[r], middle[part, None])
        parts.append(q.gradients(points, r + path.lot.start).mul_(w[part, None]))
    g = torch.cat(parts)
    total, size = summed(g, counts), summed(g.abs_(), counts)
    values = q.engine.pull(total).mul_(path.change)
    largest = spread(q, size).mul_(path.change.abs())
    return values, largest


def spread(q: Question, size: Tensor) -> Tensor:
    """|W₁|ᵀ applied to Σ|w g|: at least the sum of what each piece has to do with each feature."""
    return size @ q.engine.first.weight.abs() if isinstance(q.engine, Chain) else size


def summed(g: Tensor, counts: Tensor) -> Tensor:
    """Sums (b, h) over consecutive stretches of rows of g (P, h), ``counts`` (b,) long.

    >>> summed(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 2])).tolist()
    [[1.0], [6.0]]
    """
    longest = int(counts.max())
    place = torch.arange(longest, device=g.device)
    index = (counts.cumsum(0) - counts)[:, None] + place
    real = place < counts[:, None]
    padded = g.index_select(0, torch.where(real, index, 0).reshape(-1)).view(len(counts), longest, -1)
    return torch.bmm(real.to(g.dtype)[:, None], padded)[:, 0]


def breakpoints(q: Question, path: Segment, pieces: int) -> Tensor:
    """0, every kink, 1 for each row: (b, K), ascending, filled up with 1. ``TooManyError`` for more than ``pieces``."""
    b = len(path.end)
    A = torch.zeros(b, 2, dtype=path.end.dtype, device=path.end.device)
    A[:, 1] = 1
    step = max(1, q.points // b)
    for stage in stages(q, path):
        for _ in range(pieces):  # of max-pooling, until no piece holds a switch; of the others once
            row, α, again = [], [], False
            for low in range(0, A.shape[1] - 1, step):
                part = A[:, low : low + step + 1]
                found = stage(torch.lerp(path.start[:, None], path.end[:, None], part[..., None]))
                for r, at in crossings(found, part):
                    row.append(r)
                    α.append(at)
                again = again or isinstance(found, Tensor)
            A = merged(A, torch.cat(row), torch.cat(α)) if row else A
            if A.shape[1] - 1 > pieces:
                raise TooManyError
            if not again or not row or not sum(len(r) for r in row):
                break
    return A


def merged(A: Tensor, row: Tensor, α: Tensor) -> Tensor:
    """A with α (P,) added to the rows named."""
    if not len(row):
        return A
    order = row.argsort(stable=True)
    row, α = row[order], α[order]
    counts = torch.bincount(row, minlength=len(A))
    place = torch.arange(len(row), device=A.device) - (counts.cumsum(0) - counts)[row]
    more = torch.ones(len(A), int(counts.max()), dtype=A.dtype, device=A.device)
    more[row, place] = α
    return torch.cat([A, more], 1).sort(1).values


def crossings(found: list[Lines] | Tensor, A: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(row, α) of each kink between neighbouring points A (b, K)."""
    if isinstance(found, Tensor):
        yield switches(found, A)
        return
    for lines, levels in found:
        for level in levels:
            z = lines - level if level else lines
            below = z < 0
            row, k, unit = (below[:, 1:] != below[:, :-1]).nonzero().unbind(1)
            left, right = z[row, k, unit], z[row, k + 1, unit]
            yield row, torch.lerp(A[row, k], A[row, k + 1], left / (left - right))


def switches(lines: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """(row, α) where the largest of the lines (b, K, M, w) at one end meets that at the other: the places where a
    max-pooling window changes its mind. The maximum of lines is convex: a piece whose largest line at the left is still
    the largest at the right has no switch inside. Another line may be the largest between both, so that this is asked
    again until no piece holds a switch. Ties within rounding are none.

    >>> lines = torch.tensor([[[[0.0, 1.0]], [[3.0, 1.0]]]])  # one window of two: 0 to 3, and 1 all the way
    >>> row, α = switches(lines, torch.tensor([[0.0, 1.0]]))
    >>> row, α
    (tensor([0]), tensor([0.3333]))
    """
    top, best = lines.max(-1)
    slack = 16 * torch.finfo(A.dtype).eps * lines.abs().amax(-1).where(lines.isfinite().all(-1), top.abs())
    left, right = lines[:, :-1], lines[:, 1:]
    first, last = best[:, :-1, :, None], best[:, 1:, :, None]
    lost = top[:, 1:] - right.gather(-1, first)[..., 0]  # what the line on the left is short of at the right
    gained = top[:, :-1] - left.gather(-1, last)[..., 0]
    row, k, m = ((lost > slack[:, 1:]) & (gained > slack[:, :-1])).nonzero().unbind(1)
    t = gained[row, k, m] / (gained[row, k, m] + lost[row, k, m])
    return row, torch.lerp(A[row, k], A[row, k + 1], t)


# --- what goes into the kinks ---


def stages(q: Question, path: Segment) -> Iterator[Callable[[Tensor], list[Lines] | Tensor]]:
    """For each operation with kinks, in order: points (b, K, h) to what goes into it, (b, K, M)."""
    engine = q.engine
    if isinstance(engine, Chain):
        for k, (bend, _) in enumerate(engine.steps):
            levels = bend.levels or ()
            yield lambda z, k=k, levels=levels: counted(q, z, lambda: [(engine.before(z, k), levels)])  # type: ignore[misc]
        return
    assert isinstance(engine, Whole)
    count = number_of_kinks(q.recording.nodes)
    for k in range(count):
        yield lambda z, k=k: counted(q, z, lambda: seen(engine, z, path.lot, k, count))  # type: ignore[misc]


def counted(q: Question, z: Tensor, found: Callable[[], Any]) -> Any:
    """What goes into a kink, with the points that went forward counted."""
    q.forwards += z.numel() // z.shape[-1]
    return found()


def seen(engine: Whole, z: Tensor, lot: slice, k: int, count: int) -> list[Lines] | Tensor:
    """What goes into the k-th operation with kinks while the module is given the points (b, K, d)."""
    b, K, _ = z.shape
    which = torch.arange(lot.start, lot.stop, device=z.device)[:, None].expand(b, K).reshape(-1)
    with torch.no_grad(), Watch(k, b * K) as watch, suppress(Seen):
        engine.outputs(z.reshape(b * K, -1), which)
    # every such operation must be one that the recorded pass had, or the numbering is not the same
    if watch.found is None or watch.count > count:
        raise TooManyError
    if isinstance(watch.found, Tensor):
        return watch.found.reshape(b, K, -1, watch.found.shape[-1])
    return [(lines.reshape(b, K, -1), levels) for lines, levels in watch.found]


class Seen(Exception):  # noqa: N818  a signal, not an error
    """The operation asked for was reached: the rest of the pass is not needed."""


class Watch(Mode):
    """Stops a pass at its k-th operation with kinks and keeps what goes into it, rows first."""

    def __init__(self, k: int, rows: int) -> None:
        super().__init__()
        self.k, self.rows, self.count = k, rows, 0
        self.found: list[Lines] | Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = READ.get(func.overloadpacket)
        if read is not None:
            if self.count == self.k:
                found = read(*args, **(kwargs or {}))
                lead = found.shape[0] if isinstance(found, Tensor) else found[0][0].shape[0]
                if lead != self.rows:
                    raise TooManyError
                self.found = found
                self.count += 1
                raise Seen
            self.count += 1
        return func(*args, **(kwargs or {}))


def at(*levels: float) -> Callable[..., list[Lines]]:
    """What an activation bends at: its own input, where that reaches one of the ``levels``."""
    return lambda z, *rest, **more: [(z.clone(), levels)]


def clamped(z: Tensor, low: Any = None, high: Any = None, **more: Any) -> list[Lines]:
    """z with kinks at the bounds; ``TooManyError`` where a bound is a tensor, and no one level."""
    ends = (low, high, more.get("min"), more.get("max"))
    if any(isinstance(end, Tensor) for end in ends):
        raise TooManyError
    return [(z.clone(), tuple(float(end) for end in ends if end is not None))]


def pair_of(v: int | Sequence[int]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else (int(v[0]), int(v[-1]))


def pooled(
    z: Tensor, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """The windows of max-pooling, (N, M, w): M windows of w entries, -inf where they reach over the border."""
    if ceil_mode:
        raise TooManyError
    h, w = pair_of(size)
    over, aside = pair_of(padding)
    wide = functional.pad(z, (aside, aside, over, over), value=float("-inf"))
    windows = functional.unfold(wide, (h, w), dilation=pair_of(dilation), stride=pair_of(stride or size))
    return windows.view(len(z), z.shape[1], h * w, -1).transpose(2, 3).reshape(len(z), -1, h * w)


READ: dict[Any, Callable[..., Any]] = {
    aten.relu: at(0.0),
    aten.relu_: at(0.0),
    aten.leaky_relu: at(0.0),
    aten.leaky_relu_: at(0.0),
    aten._prelu_kernel: at(0.0),
    aten.abs: at(0.0),
    aten.abs_: at(0.0),
    aten.hardtanh: lambda z, low=-1.0, high=1.0: clamped(z, low, high),
    aten.hardtanh_: lambda z, low=-1.0, high=1.0: clamped(z, low, high),
    aten.clamp: clamped,
    aten.clamp_: clamped,
    aten.clamp_min: lambda z, low: clamped(z, low),
    aten.clamp_min_: lambda z, low: clamped(z, low),
    aten.clamp_max: lambda z, high: clamped(z, None, high),
    aten.clamp_max_: lambda z, high: clamped(z, None, high),
    aten.maximum: lambda a, b: [(a - b, (0.0,))],
    aten.minimum: lambda a, b: [(a - b, (0.0,))],
    aten.max_pool2d_with_indices: pooled,
}
