"""Linear layers whose derivatives of every order take many columns at once without copying them about.

y = x Wᵀ, and the two maps of its derivative, g W and gᵀ x, are bilinear, and the derivatives of each are the other two.
Of the two factors one is the same for all p columns: then the columns are a longer axis of the other, and one matrix
product serves them all. torch's own rules under vmap make a stack of p products of it, and copies to form the stack:
on the digits MLP a column costs half as much this way.

⟨g, x Wᵀ⟩ is trilinear in (g, x, W): `Apply`, `Pull` and `Outer` are its partial gradients, closed under derivatives of
every order, and each has a rule for p columns of one factor (a matrix product with a longer axis), or of both (p
products, as torch has them).

Tensors of rows hold their columns second, (N, p, ·), in memory.

>>> x, W = torch.randn(3, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
>>> with laned_linear():
...     y = torch.nn.functional.linear(x, W)
>>> torch.equal(y, x @ W.T)
True
>>> g = torch.randn(5, 3, 4)  # five columns at once
>>> pulled = torch.vmap(lambda g: torch.autograd.grad(y, x, g, retain_graph=True)[0])(g)
>>> torch.allclose(pulled, g @ W)
True
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from calclab.second_order.kernels import transformed

Dims = tuple[int | None, int | None]
Result = tuple[Tensor, int | None]


@contextmanager
def laned_linear() -> Iterator[None]:
    """Within the block torch.nn.functional.linear, which all of torch's own layers call, builds such graphs."""
    before = functional.linear
    functional.linear = linear
    try:
        yield
    finally:
        functional.linear = before


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., i) to x Wᵀ + b (..., o)."""
    if transformed():
        return torch._C._nn.linear(input, weight, bias)
    rows = input.reshape(-1, input.shape[-1])
    y: Tensor = Apply.apply(rows, weight)  # type: ignore[no-untyped-call]
    if bias is not None:
        y = y + bias
    return y.reshape(*input.shape[:-1], len(weight))


class Bilinear(Function):
    """A product of two matrices: its derivatives are made of both."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)


class Apply(Bilinear):
    """x (N, i), W (o, i) to x Wᵀ (N, o)."""

    @staticmethod
    def forward(x: Tensor, W: Tensor) -> Tensor:
        return x @ W.T

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x, W), (g,), (left, right) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return Pull.apply(g, W) if left else None, Outer.apply(g, x) if right else None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Dims, x: Tensor, W: Tensor) -> Result:
        across, over = in_dims
        if over is None:
            return by_rows(x, across, W.T)
        W = W.movedim(over, 0)
        if across is None:
            p, o, i = W.shape
            return (x @ W.reshape(p * o, i).T).reshape(len(x), p, o), 1
        return torch.bmm(x.movedim(across, 0), W.mT), 0


class Pull(Bilinear):
    """g (N, o), W (o, i) to g W (N, i)."""

    @staticmethod
    def forward(g: Tensor, W: Tensor) -> Tensor:
        return g @ W

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g, W), (c,), (left, right) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return Apply.apply(c, W) if left else None, Outer.apply(g, c) if right else None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Dims, g: Tensor, W: Tensor) -> Result:
        across, over = in_dims
        if over is None:
            return by_rows(g, across, W)
        if across is None:
            W = W.movedim(over, 1)
            o, p, i = W.shape
            return (g @ W.reshape(o, p * i)).reshape(len(g), p, i), 1
        return torch.bmm(g.movedim(across, 0), W.movedim(over, 0)), 0


class Outer(Bilinear):
    """g (N, o), x (N, i) to gᵀ x (o, i)."""

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        return g.T @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g, x), (C,), (left, right) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return Apply.apply(x, C) if left else None, Pull.apply(g, C) if right else None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Dims, g: Tensor, x: Tensor) -> Result:
        across, over = in_dims
        if over is None:
            assert across is not None
            g = g.movedim(across, 1)
            n, p, o = g.shape
            return (g.reshape(n, p * o).T @ x).reshape(p, o, x.shape[1]), 0
        if across is None:
            x = x.movedim(over, 1)
            n, p, i = x.shape
            return (g.T @ x.reshape(n, p * i)).reshape(g.shape[1], p, i), 1
        return torch.bmm(g.movedim(across, 0).mT, x.movedim(over, 0)), 0


def by_rows(x: Tensor, across: int | None, M: Tensor) -> Result:
    """x (N, a) of every column times M (a, b), which is the same for all: the columns are further rows.

    ``across`` is the axis of x that counts the columns; the result and its axis of columns come back. The order in
    which x lies in memory is kept, so that nothing is copied.
    """
    assert across is not None
    first = x.movedim(across, 0)
    if first.is_contiguous():
        return (first.reshape(-1, first.shape[2]) @ M).reshape(*first.shape[:2], M.shape[1]), 0
    x = x.movedim(across, 1)
    return (x.reshape(-1, x.shape[2]) @ M).reshape(*x.shape[:2], M.shape[1]), 1
