"""Forward and reverse mode for many points at once, several directions a pass: how many is decided by sizes alone.

    forward  J e_j    a column of every point   n passes   (Griewank and Walther 2008, section 3.1)
    reverse  Jᵀ e_i   a row of every point      m passes   (section 3.2)

*Shared*: one graph of the points, and one backward pass for several rows of every point (forward mode: for several
columns), by vmap over the directions. Rows of points do not mix, so that Σ_b y_bj has every point's own gradient. A
pass of a single direction needs no vmap. *Copies*: every point is repeated once for each row wanted, and one pass has
them all: the quickest where one value costs little. Points that cannot go together are taken one after the other.

What autograd keeps is the price of reverse mode: directions share a pass only as far as its tensors fit the cache.

>>> from calclab.numerics.jacobian.maps import of_module
>>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()).double()
>>> x = torch.randn(4, 3, dtype=torch.float64)
>>> f = of_module(net, x[0])
>>> by_rows, by_columns = reverse(f, x, x.new_empty(4, 2, 3), 64), forward(f, x, x.new_empty(4, 2, 3), 64)
>>> bool((by_rows - by_columns).abs().max() < 1e-15)
True
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from calclab.numerics.jacobian.maps import Call, Map

FEW = 4  # directions that the older batching rules (``is_grads_batched``) take more quickly than those of vmap
LIGHT = 2e7  # operations of all copies together up to which copying beats keeping one graph (measured, one thread)
COPIED = 2**19  # ... and the bytes that autograd keeps of them
CACHED = 1.2e7  # bytes of the graph's tensors for the rows of a pass: more leave the cache, and gain nothing


@dataclass(frozen=True)
class Sharing:
    """``points`` go together, ``directions`` of each share a pass; ``copies``: each direction has a copy of its own.
    ``older``: by the batching rules of ``is_grads_batched``, which take convolutions one by one."""

    points: int
    directions: int
    copies: bool = False
    older: bool = False


def sharing(f: Map, points: int, count: int, lanes: int) -> Sharing:
    """For ``count`` rows or columns of each of ``points``, with at most ``lanes`` points times directions at once. Of
    what is light in all its copies each direction has a copy; else as many share a pass as fit the cache, and passes
    are evened out."""
    together = 1 if f.rows is None else max(1, min(points, lanes))
    each = f.saved + f.itemsize * f.inputs
    light = together * count * f.work <= LIGHT and together * count * each <= COPIED
    if light and count > FEW and f.rows is not None and not f.convolves and together * count <= lanes:
        return Sharing(together, count, copies=True)
    fits = max(1, int(min(lanes // together, count, CACHED // max(1, together * f.saved))))
    passes = -(-count // fits)
    return Sharing(together, -(-count // passes), older=count <= FEW or (f.convolves and together == 1))


def blocks(total: int, size: int) -> list[tuple[int, int]]:
    """The ends of blocks of at most ``size``.

    >>> blocks(7, 3)
    [(0, 3), (3, 6), (6, 7)]
    """
    return list(pairwise([*range(0, total, max(1, size)), total]))


def parts(x: Tensor, out: Tensor, size: int) -> Iterable[tuple[Tensor, Tensor]]:
    """The points with their part of the result, ``size`` at a time."""
    if size >= x.shape[0]:
        return [(x, out)]
    return ((x[first:last], out[first:last]) for first, last in blocks(x.shape[0], size))


def reverse(f: Map, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """J at x (B, n) into ``out`` (B, m, n), with at most ``lanes`` points times rows at once."""
    how = sharing(f, x.shape[0], f.outputs, lanes)
    way = copied if how.copies else kept
    for points, block in parts(x, out, how.points):
        way(rows_of(f), points, block, how)
    return out


def forward(f: Map, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """The same by columns. Raises where an operation has no forward rule."""
    how = sharing(f, x.shape[0], f.inputs, lanes)
    for points, block in parts(x, out, how.points):
        pushed(rows_of(f), points, block, how.directions)
    return out


def rows_of(f: Map) -> Call:
    """(B, n) to (B, m); where points cannot go together, of a single one."""
    return f.rows if f.rows is not None else lambda x: f.call(x[0])[None]


def copied(rows: Call, x: Tensor, out: Tensor, how: Sharing) -> Tensor:
    """By one backward pass of m copies of every point, copy i of which has only its output i summed."""
    points, count, n = out.shape
    with torch.enable_grad():
        copies = x.detach().repeat_interleave(count, 0).requires_grad_()
        y = rows(copies).view(points, count, -1)
        if not y.requires_grad:
            return out.zero_()
        (g,) = torch.autograd.grad(y.diagonal(dim1=1, dim2=2).sum(), copies, allow_unused=True)
    return out.zero_() if g is None else out.copy_(g.view(points, count, n))


def kept(rows: Call, x: Tensor, out: Tensor, how: Sharing) -> Tensor:
    """By backward passes through one graph of the points, ``directions`` rows of every point in each."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = rows(leaf)
    m = y.shape[1]
    if not y.requires_grad:
        return out.zero_()
    for first, last in blocks(m, how.directions):
        g: Tensor | None
        if last - first == 1:
            part = y if m == 1 else y[:, first]
            one = torch.ones_like(part)
            (g,) = torch.autograd.grad(part, leaf, one, retain_graph=last < m, allow_unused=True)
            row = out.select(1, first)
            row.zero_() if g is None else row.copy_(g)
        else:
            unit = y.new_zeros(last - first, *y.shape)
            unit.diagonal(first, 0, 2).fill_(1)
            g = directions_back(y, leaf, unit, how.older)
            out[:, first:last] = 0 if g is None else g.transpose(0, 1)
    return out


def pushed(rows: Call, x: Tensor, out: Tensor, columns: int) -> Tensor:
    """By forward passes, ``columns`` of every point in one."""
    point, push = x.detach(), forward_of(rows)
    for first, last in blocks(x.shape[1], columns):
        unit = x.new_zeros(last - first, x.shape[1])
        unit.diagonal(first).fill_(1)
        if last - first == 1:
            out[:, :, first] = push(point, unit[0].expand_as(point))
        else:
            found = torch.vmap(lambda v: push(point, v.expand_as(point)))(unit)
            out[:, :, first:last] = found.permute(1, 2, 0)
    return out


def forward_of(rows: Call) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, v) to J v."""

    def push(x: Tensor, v: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(rows, (x,), (v,))[1]
        return found

    return push


def directions_back(y: Tensor, leaf: Tensor, U: Tensor, older: bool) -> Tensor | None:
    """(∂y/∂leaf)ᵀ u for each u of U (p, *y.shape), (p, *leaf.shape); None where y does not depend on the leaf.

    ``older`` batching rules take what they do not know one by one, which for convolutions of one image is quicker.
    Where an operation has no batching rule at all, directions are taken one after the other.
    """

    def one(u: Tensor) -> Tensor | None:
        return torch.autograd.grad(y, leaf, u, retain_graph=True, allow_unused=True)[0]

    try:
        if older:
            batched: Tensor | None
            (batched,) = torch.autograd.grad(y, leaf, U, retain_graph=True, allow_unused=True, is_grads_batched=True)
            return batched
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of operations that vmap takes one by one
            found: Tensor | None = torch.vmap(one)(U)
            return found
    except (RuntimeError, ValueError):  # an operation without a batching rule, or no dependence: one by one
        rows = [one(u) for u in U]
        return None if rows[0] is None else torch.stack([row for row in rows if row is not None])
