"""What is to be differentiated: y = f(x) for one point or for many, and what is known of how f is made.

Nothing here computes a Jacobian; it finds what the ways to one need: whether points may go together (rows that do not
mix, or a program that vmap can follow), the layers of a plain sequence or the steps of a traced program, which outputs
depend on which inputs, the formula's own derivatives, and what a value costs in time and in memory. Each is looked for
when it is first asked for.

>>> f = of_module(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(3))
>>> f.inputs, f.outputs, f.work, [step.kind for step in f.steps]
(3, 4, 28, ['layer', 'layer'])
>>> apart(lambda x: x - x.mean(0), torch.randn(2, 3))  # batch statistics mix rows
False
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from calclab.core import Function
from calclab.numerics.jacobian.layers import Layer, flops, sequence
from calclab.numerics.jacobian.pattern import Structure, pattern
from calclab.numerics.jacobian.steps import Step, of_layers, traced
from calclab.numerics.jacobian.windows import window
from calclab.numerics.saved import saved_by

Call = Callable[[Tensor], Tensor]
Straight = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Map:
    """f: R^n -> R^m. ``call`` takes (n,) to (m,), ``rows`` (B, n) to (B, m), row b by point b alone; it is None where
    points cannot go together. ``layers`` are those of a plain sequence, each row of it having the shape ``shape``.
    ``straight`` takes (B, n) to f (B, m) and J (B, m, n) without autograd. ``work`` is about what one value costs, in
    multiplications and additions, ``saved`` the bytes that autograd keeps for one point.
    ``convolves``: most of the work is in convolutions. ``traced`` finds the steps of what is no plain sequence,
    ``depends`` which inputs each output can depend on, where that is known beforehand.
    """

    call: Call
    start: Tensor
    outputs: int
    rows: Call | None = None
    layers: tuple[Layer, ...] | None = None
    straight: Straight | None = None
    convolves: bool = False
    traced: Callable[[], tuple[Step, ...] | None] | None = None
    depends: Callable[[], Sequence[Sequence[int]] | None] | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...] | None:
        """What is done step by step; None where that is not known."""
        if self.layers is not None:
            return of_layers(self.layers)
        return None if self.traced is None else self.traced()

    @cached_property
    def structure(self) -> Structure | None:
        """Which entries of J can differ from zero, where they are few; None where nothing is known."""
        if self.depends is not None:
            entries = self.depends()
            return None if entries is None else pattern(entries, self.inputs)
        return window(self.steps) if self.convolves else None

    @property
    def inputs(self) -> int:
        return self.start.shape[0]

    @property
    def itemsize(self) -> int:
        return self.start.element_size()

    @cached_property
    def work(self) -> int:
        """Multiplications and additions of one value, about."""
        if self.layers is not None:
            return sum(map(flops, self.layers))
        return self.saved // self.itemsize

    @cached_property
    def saved(self) -> int:
        """Bytes that autograd keeps of one point: of a second one, beside what both have in common."""
        if self.rows is None:
            return saved_by(self.call, self.start)
        two = saved_by(self.rows, self.start.expand(2, -1))  # what both have in common are weights
        return max(two - saved_by(self.rows, self.start.expand(1, -1)), self.itemsize * self.inputs)


def of_function(function: Function, *, together: bool = True) -> Map:
    """The map of a function, its outputs flattened; points go ``together`` by vmap where its program allows that. What
    the formula knows of itself comes along: its derivatives without autograd, and which outputs depend on which
    variables."""

    def call(x: Tensor) -> Tensor:
        return function.call(x).reshape(-1)

    x = function.start
    lean = None if function.exact is None else function.exact.lean
    if lean is not None and function.scalar:
        whole = lean

        def lean(x: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = whole(x)
            return value.unsqueeze(-1), gradient.unsqueeze(-2)

    rows = vectorised(call, x) if together else None
    depends = getattr(function.exact, "depends", None)
    return Map(call, x, len(function.outputs) or 1, rows, None, lean, depends=depends)


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
    writes = any(getattr(inner, "inplace", False) for inner in module.modules())
    layers = sequence(module, module, x.detach()[None].clone() if writes else x.detach()[None], until)
    if until is not None and layers is None:
        raise ValueError(f"{until} is not the end of a plain sequence of layers")
    upto: Callable[[Tensor], Tensor] = module if until is None or layers is None else through(layers)
    shape = tuple(x.shape)

    def rows(points: Tensor) -> Tensor:
        count = points.shape[0]
        shaped = points if len(shape) == 1 else points.reshape(count, *shape)
        y = upto(shaped.clone() if writes else shaped)
        return y if y.ndim == 2 else y.reshape(count, -1)

    with torch.no_grad():
        outputs = rows(x.detach().reshape(1, -1)).shape[1]
    start = x.detach().reshape(-1)
    follow = partial(traced, module, x) if layers is None else None
    call = partial(single, rows)
    return Map(call, start, outputs, rows, layers, convolves=has_convolutions(module), traced=follow)


def single(rows: Call, point: Tensor) -> Tensor:
    """A single point (n,) to (m,)."""
    return rows(point[None])[0]


def has_convolutions(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.Conv1d | nn.Conv2d | nn.Conv3d) for inner in module.modules())


def through(layers: tuple[Layer, ...]) -> Callable[[Tensor], Tensor]:
    """The layers one after the other, (B, *shape) to (B, *shape), each given the shape that it was seen with."""

    def call(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer.module(x.reshape(len(x), *layer.before))
        return x

    return call


def apart(rows: Call, x: Tensor) -> bool:
    """Whether a point's value and derivative are the same alone and beside others (x: (B, n), B > 1): whether ∂y_0/∂x_1
    is zero."""
    with torch.enable_grad():
        leaf = (x[:2] if len(x) > 1 else x.expand(2, -1)).detach().clone().requires_grad_()
        try:
            y = rows(leaf)
        except (RuntimeError, ValueError, IndexError):
            return False
        if len(y) != len(leaf):  # a module that takes one row alone, such as a graph
            return False
        if not y.requires_grad:
            return True
        (g,) = torch.autograd.grad(y[0].sum(), leaf, allow_unused=True, materialize_grads=True)
    return not bool(g[1].abs().max() > 0)
