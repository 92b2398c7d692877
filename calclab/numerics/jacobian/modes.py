"""Forward and reverse mode for many points at once: which of several programs is quickest depends on the sizes.

*Copies*: every point is repeated once for each row (column) wanted, and one pass has them all. No vmap, one graph:
the quickest where one value costs little. *Passes*: one graph of the points, and one pass for each row (column), in
which all points take part: rows do not mix, so that Σ_b y_bj has every point's own gradient. *Shared*: the same for
several rows in one pass. *Lanes*: vmap over the rows (columns) of one point. *Alone*: row by row, for programs that
vmap cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from calclab.numerics import operators
from calclab.numerics.jacobian.maps import Call, Map

FEW = 4  # rows of one point that are quicker one by one than by vmap
LIGHT = 2e7  # operations of all copies together up to which copying beats keeping one graph (measured, one thread)


def blocks(total: int, size: int) -> list[tuple[int, int]]:
    return list(pairwise([*range(0, total, max(1, size)), total]))


def reverse(f: Map, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """J at x (B, n) into ``out`` (B, m, n), with at most ``lanes`` copies or lanes at once."""
    points, m = len(x), f.outputs
    if f.rows is None:
        if m <= FEW:
            return alone(f.call, x, out)
        for b in range(points):
            laned_back(f, x[b], out[b], lanes)
        return out
    if f.convolves:
        for first, last in blocks(points, lanes):
            shared_back(f.rows, x[first:last], out[first:last], max(1, lanes // (last - first)))
        return out
    if points * m * f.work <= LIGHT and points * m <= lanes:
        return copied_back(f.rows, x, out)
    if points > 1:
        for first, last in blocks(points, lanes):
            passes_back(f.rows, x[first:last], out[first:last])
        return out
    if m * f.work <= LIGHT:
        for first, last in blocks(m, lanes):
            copied_back(f.rows, x, out[:, first:last], first)
        return out
    laned_back(f, x[0], out[0], lanes)
    return out


def copied_back(rows: Call, x: Tensor, out: Tensor, first: int = 0) -> Tensor:
    """Rows ``first``, ``first`` + 1, ... of J, as many as ``out`` (B, r, n) has."""
    points, count, n = out.shape
    with torch.enable_grad():
        copies = x.detach().repeat_interleave(count, 0).requires_grad_()
        y = rows(copies).view(points, count, -1)
        chosen = y.diagonal(offset=first, dim1=1, dim2=2)
        if not y.requires_grad:
            return out.zero_()
        (g,) = torch.autograd.grad(chosen.sum(), copies, allow_unused=True)
    return out.zero_() if g is None else out.copy_(g.view(points, count, n))


def passes_back(rows: Call, x: Tensor, out: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        columns = rows(leaf).unbind(1)
        for j, y in enumerate(columns):
            g = None
            if y.requires_grad:
                keep = j + 1 < len(columns)
                (g,) = torch.autograd.grad(y.sum(), leaf, retain_graph=keep, allow_unused=True)
            out[:, j] = 0 if g is None else g
    return out


def shared_back(rows: Call, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """One graph of the points, ``lanes`` rows of every point in one pass: the quickest for convolutions."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = rows(leaf)
    if not y.requires_grad:
        return out.zero_()
    for first, last in blocks(y.shape[1], lanes):
        unit = y.new_zeros(last - first, *y.shape)
        unit.diagonal(first, 0, 2).fill_(1)
        try:
            (g,) = torch.autograd.grad(y, leaf, unit, retain_graph=True, allow_unused=True, is_grads_batched=True)
        except RuntimeError:  # an operation without a batching rule
            return passes_back(rows, x, out)
        out[:, first:last] = 0 if g is None else g.transpose(0, 1)
    return out


def laned_back(f: Map, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """J (m, n) of one point by vmap over vectors u in Jᵀu."""
    pulled: Callable[[Tensor], tuple[Tensor]]
    y, pulled = torch.func.vjp(f.call, x.detach())  # type: ignore[misc]
    for first, last in blocks(f.outputs, lanes):
        unit = y.new_zeros(last - first, f.outputs)
        unit.diagonal(first).fill_(1)
        try:
            out[first:last] = torch.vmap(lambda u: pulled(u)[0])(unit)
        except RuntimeError:  # an operation without a batching rule
            return alone(f.call, x[None], out[None])[0]
    return out


def alone(call: Call, x: Tensor, out: Tensor) -> Tensor:
    """Point by point, row by row."""
    for b in range(len(x)):
        with torch.enable_grad():
            leaf = x[b].detach().requires_grad_()
            y = call(leaf)
        for i in range(len(y)):
            out[b, i] = operators.pullback(y[i], leaf)[0]
    return out


def forward(f: Map, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    """The same by columns. Raises where an operation has no forward rule."""
    points, n = len(x), f.inputs
    if f.rows is None:
        for b in range(points):
            laned(f.call, x[b], out[b], lanes)
        return out
    if points <= n and points * n * f.work <= LIGHT and points * n <= lanes:
        return copied(f.rows, x, out)
    if points > 1:
        for first, last in blocks(points, lanes):
            passes(f.rows, x[first:last], out[first:last])
        return out
    if n * f.work <= LIGHT:
        for first, last in blocks(n, lanes):
            copied(f.rows, x, out[:, :, first:last], first)
        return out
    laned(f.call, x[0], out[0], lanes)
    return out


def copied(rows: Call, x: Tensor, out: Tensor, first: int = 0) -> Tensor:
    """Columns ``first``, ``first`` + 1, ... of J, as many as ``out`` (B, m, c) has."""
    points, m, count = out.shape
    unit = x.new_zeros(count, x.shape[1])
    unit.diagonal(first).fill_(1)
    tangents = torch.func.jvp(rows, (x.detach().repeat_interleave(count, 0),), (unit.repeat(points, 1),))[1]
    return out.copy_(tangents.view(points, count, m).mT)


def passes(rows: Call, x: Tensor, out: Tensor) -> Tensor:
    for j in range(x.shape[1]):
        unit = torch.zeros_like(x)
        unit[:, j] = 1
        out[:, :, j] = torch.func.jvp(rows, (x.detach(),), (unit,))[1]
    return out


def laned(call: Call, x: Tensor, out: Tensor, lanes: int) -> Tensor:
    for first, last in blocks(len(x), lanes):
        unit = x.new_zeros(last - first, len(x))
        unit.diagonal(first).fill_(1)
        out[:, first:last] = torch.vmap(lambda v: torch.func.jvp(call, (x.detach(),), (v,))[1])(unit).T
    return out
