"""Compressed Jacobians: columns that share no row go together in one product, or rows that share no column.

    (J s)_i = Σ_{j in colour} J_ij = the one J_ij of that colour in row i,    s the sum of the colour's unit vectors

So that c products, c the number of colours, have all entries of J (Curtis, Powell and Reid 1974); each is read off from
its place. Which go together is known from windows (``windows.py``) or by colouring the graph of columns that meet in a
row (``pattern.py``). By columns a product is J s, by forward mode or layer by layer by hand; by rows it is Jᵀ s, by
reverse mode.

>>> from calclab.numerics.jacobian.pattern import pattern
>>> f = lambda x: x[1:] * x[:-1]  # each output depends on two neighbours
>>> seen = pattern([(i, i + 1) for i in range(7)], inputs=8)
>>> x = torch.arange(1.0, 9.0)
>>> J = compressed(seen, x, None, f, None)
>>> seen.colours, J.entries, torch.equal(J.dense(), torch.func.jacrev(f)(x))
(2, 14, True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.numerics.jacobian.layers import entrywise, scale, slopes
from calclab.numerics.jacobian.modes import FEW, directions_back
from calclab.numerics.jacobian.pattern import Structure
from calclab.numerics.jacobian.steps import Step
from calclab.numerics.jacobian.windows import CONVOLUTIONS, MAXIMA, MEANS

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Compressed:
    """J (m, n) by its entries that can differ from zero. With ``by_columns``, ``values`` (m, c) are those of each row
    and ``places`` (m, c) their columns; otherwise (n, c), of each column and their rows. A place of -1: no entry."""

    values: Tensor
    places: Tensor
    shape: tuple[int, int]
    by_columns: bool

    def dense(self, out: Tensor | None = None) -> Tensor:
        """J (m, n), zero where there is no entry, into ``out`` where it is given."""
        J = self.values.new_zeros(self.shape) if out is None else out.zero_()
        entries = torch.where(self.places >= 0, self.values, 0)
        if self.by_columns:
            return J.scatter_add_(1, self.places.clamp(min=0), entries)
        return J.scatter_add_(0, self.places.clamp(min=0).T, entries.T)

    def sparse(self) -> Tensor:
        """The same as a sparse COO tensor."""
        there = self.places >= 0
        own = torch.arange(len(self.places), device=self.places.device)[:, None].expand_as(self.places)[there]
        other = self.places[there]
        indices = torch.stack([own, other] if self.by_columns else [other, own])
        return torch.sparse_coo_tensor(indices, self.values[there], self.shape, check_invariants=False)

    @property
    def entries(self) -> int:
        """How many entries can differ from zero."""
        return int((self.places >= 0).sum())

    def norm(self) -> Tensor:
        """‖J‖_F."""
        return torch.where(self.places >= 0, self.values, 0).norm()


def compressed(
    seen: Structure,
    x: Tensor,
    steps: Sequence[Step] | None,
    call: Call,
    rows: Call | None,
    places: Tensor | None = None,
) -> Compressed:
    """J at x (n,): of ``steps`` where they are known, else of ``call`` (n,) to (m,). ``rows`` takes (p, n) to (p, m),
    for reverse mode with p copies of the point. ``places`` are those of the structure, where they were worked out
    before."""
    seeds = seen.seeds(x)
    if not seen.by_columns:
        values = pull(rows, x, seeds) if steps is not None and rows is not None else pulled(call, x, seeds)
    else:
        values = push(steps, x, seeds) if steps is not None else pushed(call, x, seeds)
    return Compressed(values.T, seen.places(x.device) if places is None else places, seen.shape, seen.by_columns)


def push(steps: Sequence[Step], x: Tensor, V: Tensor) -> Tensor:
    """J V for rows V (p, n) at x (n,): (p, m), each layer linearised by hand: convolutions and linear layers without
    their bias, activations by their slopes, max-pooling by the entry that it chose."""
    first = next(step for step in steps if step.sources == (0,))
    found = [(x.detach().reshape(1, *first.before), V.reshape(len(V), *first.before))]
    with torch.no_grad():
        for step in steps:
            z, t = found[step.sources[0]]
            if step.kind == "layer":
                z, t = z.reshape(1, *step.before), t.reshape(len(t), *step.before)
                found.append(tangent(step.module, z, t))
            elif step.kind == "shape":
                found.append((z.reshape(1, *step.after), t.reshape(len(t), *step.after)))
            else:
                pairs = [(c, *found[k]) for c, k in zip(step.factors, step.sources, strict=True)]
                value, moved = sum_of([c * z for c, z, _ in pairs]), sum_of([c * t for c, _, t in pairs])
                found.append((value + step.shift, moved))
    t = found[-1][1]
    return t.reshape(len(t), -1)


def sum_of(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def pushed(call: Call, x: Tensor, V: Tensor) -> Tensor:
    """J V for rows V (p, n) at x (n,) by forward mode: (p, m)."""
    point = x.detach()

    def one(v: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(call, (point,), (v,))[1]
        return found

    try:
        return torch.vmap(one)(V)
    except RuntimeError:  # an operation that vmap cannot follow
        return torch.stack([one(v) for v in V])


def tangent(module: nn.Module, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output at z (1, ...), and the derivatives along t (p, ...)."""
    if isinstance(module, CONVOLUTIONS):
        convolve: Callable[..., Tensor] = functional.conv1d if isinstance(module, nn.Conv1d) else functional.conv2d
        rest = (module.stride, module.padding, module.dilation, module.groups)
        return module(z), convolve(t, module.weight, None, *rest)
    if isinstance(module, MEANS):
        return module(z), module(t)
    if isinstance(module, MAXIMA):
        pool: Callable[..., Any] = functional.max_pool1d if isinstance(module, nn.MaxPool1d) else functional.max_pool2d
        sizes: list[Any] = [module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode]
        y, best = pool(z, *sizes, return_indices=True)
        flat = best.flatten(2).expand(len(t), -1, -1)
        return y, t.flatten(2).gather(2, flat).reshape(len(t), *y.shape[1:])
    if entrywise(module):
        y, slope = slopes(module, z)
        return y, t * slope
    constant = scale(module)
    if constant is not None:
        return module(z), t * constant.reshape(-1, *[1] * (z.ndim - 2))
    return module(z), module(t)


def pull(rows: Call, x: Tensor, U: Tensor) -> Tensor:
    """Jᵀ U for rows U (p, m) at x (n,): (p, n), by one backward pass through p copies of the point."""
    with torch.enable_grad():
        z = x.detach().expand(len(U), -1).clone().requires_grad_()
        y = rows(z.clone())
    (g,) = torch.autograd.grad(y, z, U.reshape(y.shape), allow_unused=True, materialize_grads=True)
    return g.detach()


def pulled(call: Call, x: Tensor, U: Tensor) -> Tensor:
    """The same by a backward pass for all rows through one graph: where one value is many small operations."""
    return pulled_together(lambda z: call(z[0])[None], x[None], U)[:, 0]


def pulled_together(rows: Call, x: Tensor, U: Tensor) -> Tensor:
    """Jᵀ U for rows U (p, m) at each of the points x (B, n): (p, B, n)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = rows(leaf)
    g = None
    if y.requires_grad:
        g = directions_back(y, leaf, U[:, None].expand(len(U), *y.shape), older=len(U) <= FEW and len(x) == 1)
    return x.new_zeros(len(U), *x.shape) if g is None else g


def rows_together(rows: Call, x: Tensor, seeds: Tensor, places: Tensor, out: Tensor) -> Tensor:
    """J at the points x (B, n) into ``out`` (B, m, n), of rows compressed by ``seeds`` (c, m), ``places`` (n, c)."""
    g = pulled_together(rows, x, seeds)
    column, colour = (places >= 0).nonzero(as_tuple=True)
    out.zero_()[:, places[column, colour], column] = g[colour, :, column].mT
    return out
