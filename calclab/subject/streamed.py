"""A sum over windows of rows, differentiable to every order, that holds the graph of one window at a time.

F(x) = Σ_w f_w(x). Its pullback is such a sum again, (∂F)ᵀu = Σ_w (∂f_w)ᵀu, and so is its derivative along a direction:
each term is computed anew when it is asked for, and forgotten once it is added. Sums are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function as Differentiable

from calclab.core.values import wide

Part = Callable[..., tuple[Tensor, ...]]  # a window and the arguments to the terms of that window


def summed(part: Part, windows: Sequence[slice], *args: Tensor) -> tuple[Tensor, ...]:
    """Σ_w ``part``(w, *args), each entry in the dtype that the part gives it.

    >>> rows = torch.arange(6.0)
    >>> square = lambda window, x: ((rows[window] * x).square().sum(),)
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> (value,) = summed(square, [slice(0, 4), slice(4, 6)], x)
    >>> (slope,) = torch.autograd.grad(value, x, create_graph=True)
    >>> value.item(), slope.item(), torch.autograd.grad(slope, x)[0].item()
    (220.0, 220.0, 110.0)
    """
    found: tuple[Tensor, ...] = Summed.apply(part, tuple(windows), *args)  # type: ignore[no-untyped-call]
    return found


class Summed(Differentiable):
    """The sum as an operation of autograd."""

    @staticmethod
    def forward(part: Part, windows: tuple[slice, ...], *args: Tensor) -> tuple[Tensor, ...]:
        total: list[Tensor] = []
        kinds: list[torch.dtype] = []
        for window in windows:
            terms = part(window, *args)
            if not total:
                kinds = [term.dtype for term in terms]
                total = [torch.zeros_like(term, dtype=wide(term.device)) for term in terms]
            for sum_, term in zip(total, terms, strict=True):
                sum_ += term.detach()
        return tuple(sum_.to(kind) for sum_, kind in zip(total, kinds, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.part, ctx.windows = inputs[:2]
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        args = ctx.saved_tensors
        found = summed(pulled(ctx.part, len(args)), ctx.windows, *args, *cotangents)
        return None, None, *found

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        args = ctx.saved_tensors
        moved = [torch.zeros_like(a) if t is None else t for a, t in zip(args, tangents[2:], strict=True)]
        return summed(pushed(ctx.part, len(args)), ctx.windows, *args, *moved)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], part: Part, windows: Any, *args: Tensor) -> Any:
        lanes = [
            [a if d is None else a.select(d, i) for a, d in zip(args, in_dims[2:], strict=True)]
            for i in range(info.batch_size)
        ]
        found = [summed(part, windows, *lane) for lane in lanes]
        outputs = tuple(torch.stack(each) for each in zip(*found, strict=True))
        return outputs, (0,) * len(outputs)


def pulled(part: Part, n: int) -> Part:
    """The part whose terms are (∂f_w)ᵀu of the first ``n`` arguments; those that follow are u."""

    def back(window: slice, *given: Tensor) -> tuple[Tensor, ...]:
        if torch._C._are_functorch_transforms_active():
            found: tuple[Tensor, ...] = torch.func.vjp(partial(part, window), *given[:n])[1](given[n:])
            return found
        outer = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        with torch.enable_grad():
            args = [a if outer and a.requires_grad else a.detach().requires_grad_() for a in given[:n]]
            pairs = [(term, u) for term, u in zip(part(window, *args), given[n:], strict=True) if term.requires_grad]
            if not pairs:
                return tuple(torch.zeros_like(a) for a in given[:n])
            terms, cotangents = zip(*pairs, strict=True)
            return torch.autograd.grad(
                terms, args, cotangents, create_graph=outer, allow_unused=True, materialize_grads=True
            )

    return back


def pushed(part: Part, n: int) -> Part:
    """The part whose terms are the derivatives of f_w along a change of the first ``n`` arguments, which follow."""

    def forward(window: slice, *given: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.func.jvp(partial(part, window), given[:n], given[n:])[1]
        return found

    return forward
