"""What is to be differentiated: y = f(x) for one point or for many, and what is known of how f is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.numerics.jacobian.layers import Layer, flops, sequence

Call = Callable[[Tensor], Tensor]
Straight = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Map:
    """f: R^n -> R^m. ``call`` takes (n,) to (m,), ``rows`` (B, n) to (B, m), row b by point b alone; it is None where
    points cannot go together. ``layers`` are those of a plain sequence, each row of it having the shape ``shape``.
    ``straight`` takes (B, n) to f (B, m) and J (B, m, n) without autograd. ``work`` is about what one value costs, in
    multiplications and additions, ``saved`` the bytes that autograd keeps for one point.
    ``convolves``: most of the work is in convolutions.
    """

    call: Call
    start: Tensor
    outputs: int
    rows: Call | None = None
    layers: tuple[Layer, ...] | None = None
    straight: Straight | None = None
    convolves: bool = False

    @property
    def inputs(self) -> int:
        return len(self.start)

    @property
    def itemsize(self) -> int:
        return self.start.element_size()

    @cached_property
    def work(self) -> int:
        if self.layers is not None:
            return sum(map(flops, self.layers))
        return self.saved // self.itemsize

    @cached_property
    def saved(self) -> int:
        if self.rows is None:
            return saved_by(self.call, self.start)
        two = saved_by(self.rows, self.start.expand(2, -1))  # what both have in common are weights
        return max(two - saved_by(self.rows, self.start.expand(1, -1)), self.itemsize * self.inputs)


def saved_by(call: Call, x: Tensor) -> int:
    """The bytes that autograd keeps of a call."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call(x.detach().clone().requires_grad_())
    return total


def of_function(function: Function, *, together: bool = True) -> Map:
    """The map of a function, its outputs flattened; points go ``together`` by vmap where its program allows that."""

    def call(x: Tensor) -> Tensor:
        return function.call(x).reshape(-1)

    x = function.start
    lean = None if function.exact is None else function.exact.lean
    if lean is not None and function.scalar:
        whole = lean

        def lean(x: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = whole(x)
            return value.unsqueeze(-1), gradient.unsqueeze(-2)

    return Map(call, x, len(function.outputs) or 1, vectorised(call, x) if together else None, None, lean)


def vectorised(call: Call, x: Tensor) -> Call | None:
    """(B, n) to (B, m) by vmap; None for a program that vmap cannot follow."""
    rows = torch.vmap(call)
    try:
        with torch.no_grad():
            rows(x.detach().expand(2, -1))
    except Exception:
        return None  # any program of the user's may raise anything
    return rows


def of_module(module: nn.Module, x: Tensor, until: str | None = None) -> Map:
    """The map of a module (in eval mode, rows apart) from one row x (*shape) to its outputs, or to those of its
    submodule ``until``, where it is a plain sequence up to there."""
    layers = sequence(module, module, x.detach()[None], until)
    if until is not None and layers is None:
        raise ValueError(f"{until} is not the end of a plain sequence of layers")
    upto: Callable[[Tensor], Tensor] = module if until is None or layers is None else through(layers)
    shape = tuple(x.shape)

    def rows(points: Tensor) -> Tensor:
        return upto(points.reshape(len(points), *shape)).reshape(len(points), -1)

    with torch.no_grad():
        outputs = rows(x.detach().reshape(1, -1)).shape[1]
    start = x.detach().reshape(-1)
    return Map(lambda point: rows(point[None])[0], start, outputs, rows, layers, convolves=has_convolutions(module))


def has_convolutions(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.Conv1d | nn.Conv2d | nn.Conv3d) for inner in module.modules())


def through(layers: tuple[Layer, ...]) -> Callable[[Tensor], Tensor]:
    """The layers one after the other, (B, *shape) to (B, *shape)."""

    def call(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer.module(x.reshape(len(x), *layer.before))
        return x

    return call


def apart(rows: Call, x: Tensor) -> bool:
    """Whether a point's value and derivative are the same alone and beside others (x: (B, n), B > 1)."""
    with torch.enable_grad():
        leaf = x[:2].detach().clone().requires_grad_()
        y = rows(leaf)
        if not y.requires_grad:
            return True
        (g,) = torch.autograd.grad(y[0].sum(), leaf, allow_unused=True, materialize_grads=True)
    return not bool(g[1].abs().max() > 0)


def size(shape: tuple[int, ...]) -> int:
    return prod(shape)
