"""Which way to a Jacobian: decided by shapes and memory, said in words, and left to the user where one is named.

A cost is counted in values of f. A plan depends on nothing that a clock says, so that a run is the same every time. In
this order:

    coloured      a structure saves half of the products or more
    matrix_free   only the largest singular value is asked for, or J does not fit the memory
    straight      a short formula of smooth operations has its own derivatives
    chain         a plain sequence of linear layers and activations is a product of matrices
    reverse       m ≤ 1.5 n, or a value costs little
    forward       otherwise

>>> from calclab.numerics.jacobian.maps import of_module
>>> wide, tall = torch.nn.LayerNorm(8), torch.nn.Sequential(torch.nn.Linear(2, 900), torch.nn.Softmax(1))
>>> plan(of_module(wide, torch.zeros(8))).way, plan(of_module(tall, torch.zeros(2)), way="forward").why
('reverse', 'asked for by way')
>>> plan(of_module(tall, torch.zeros(2)), memory=1000).text()
'not formed, products with vectors only: its 900 × 2 entries need 0.00687 MB, and memory is 0.000954 MB'
>>> plan(of_module(tall, torch.zeros(2)), way="coloured")  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
calclab.errors.UserError: way=coloured: that is for convolutions, pooling, ... Here there are auto, forward, ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.numerics.jacobian import chain, coloured, modes
from calclab.numerics.jacobian.maps import Map

WAYS = ("auto", "straight", "chain", "forward", "reverse", "coloured", "matrix_free")
FORWARD = 1.5  # a column by forward mode costs about so many rows by reverse mode; of convolutions 1
SHARED = 1 / 4  # of the memory: what autograd may keep beside the result
TINY = 10_000  # entries up to which a formula's own derivatives are quicker than any structure
CACHED = 2.0**23  # bytes of the products of points that go together: more is slower, as they leave the cache


@dataclass(frozen=True)
class Plan:
    """``way`` and ``why`` it was chosen; ``points`` go together, ``lanes`` copies share a pass. ``bytes`` is about what
    is needed at once. ``forms`` says whether the matrix is formed (a coloured one may stay compressed)."""

    way: str
    why: str
    points: int = 1
    lanes: int = 1
    bytes: int = 0
    forms: bool = True
    split: dict[tuple[int, int], int] = field(default_factory=dict)
    scratch: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def text(self) -> str:
        """How the Jacobian is computed, and why in this way."""
        names = {
            "straight": "by the formula's own derivatives, without autograd",
            "chain": "as a product of layer Jacobians",
            "forward": "by forward mode",
            "reverse": "by reverse mode",
            "coloured": "in compressed form, by coloured products",
            "matrix_free": "not formed, products with vectors only",
        }
        return f"{names[self.way]}: {self.why}"


def plan(
    f: Map, points: int = 1, *, way: str = "auto", memory: float = 2.0**28, spectrum: bool = False, kept: bool = False
) -> Plan:
    """The plan for J at ``points`` points within ``memory`` bytes beside the model.

    ``spectrum``: only the largest singular values are asked for. ``kept``: the result of all points is kept, as one
    tensor, and ``memory`` is for what comes on top. UserError for a ``way`` that this map does not allow, and for one
    that forms a matrix larger than the memory.
    """
    m, n, one = f.outputs, f.inputs, f.outputs * f.inputs * f.itemsize
    allowed = possible(f)
    if way != "auto" and way not in allowed:
        raise UserError(f"way={way}: {REFUSED[way]}. Here there are {', '.join(['auto', *allowed])}")
    fits = kept or one <= memory
    if way == "auto":
        way, why = choose(f, allowed, m, n, fits, spectrum)
        if way == "matrix_free" and not spectrum:
            why = f"its {m:,} × {n:,} entries need {mib(one)}, and memory is {mib(memory)}"
    else:
        why = "asked for by way"
        if not fits and way not in ("coloured", "matrix_free"):
            raise UserError(
                f"way={way}: the Jacobian has {m:,} × {n:,} entries and needs {mib(one)}; memory is {mib(memory)}. "
                f"Type memory={2 * one / 2**20:.2g}, or way=matrix_free"
            )
    split, _ = chain.order(f.layers or ()) if way == "chain" else ({}, 0)
    return Plan(way, why, *room(f, way, points, one, memory), fits, split)


REFUSED = {
    "straight": "that is for short formulas of smooth operations",
    "chain": "that is for networks that are a plain sequence of linear layers and activations",
    "coloured": "that is for convolutions, pooling, activations and their sums, and for formulas each of whose outputs "
    "depends on few variables",
}


def possible(f: Map) -> list[str]:
    """The ways that this map allows."""
    ways = ["straight"] if f.straight is not None else []
    ways += ["chain"] if chain.chains(f.layers) else []
    ways += ["coloured"] if f.structure is not None else []
    return [*ways, "forward", "reverse", "matrix_free"]


def choose(f: Map, allowed: list[str], m: int, n: int, fits: bool, spectrum: bool) -> tuple[str, str]:
    """The way and the reason, of J (m, n), which ``fits`` the memory or not."""
    seen = f.structure
    best = min(m, FORWARD * n)
    saves = seen is not None and 2 * seen.colours < best and (f.steps is not None or not seen.by_columns)
    if seen is not None and saves and (m * n > TINY or "straight" not in allowed):
        kind = "columns" if seen.by_columns else "rows"
        return "coloured", (
            f"{kind} that share no entry go together ({seen.kind}), {seen.colours} products instead of {m:,} rows or "
            f"{n:,} columns"
        )
    if spectrum:
        return "matrix_free", "only the largest singular value is asked for"
    if not fits:
        return "matrix_free", ""
    if "straight" in allowed:
        return "straight", "a short formula of smooth operations"
    if "chain" in allowed:
        flops = 2 * chain.order(f.layers or ())[1]
        return "chain", f"a plain sequence of linear layers and activations, {flops:,} operations a point"
    if m < n or (m <= FORWARD * n and not f.convolves):
        return "reverse", f"{m:,} outputs by {n:,} inputs: {m:,} backward passes"
    if m * f.work <= modes.LIGHT and f.rows is not None and not f.convolves:
        return "reverse", f"{m:,} outputs by {n:,} inputs, each of little work: forward mode has the larger overhead"
    return "forward", f"{m:,} outputs by {n:,} inputs: {n:,} forward passes"


def room(f: Map, way: str, points: int, one: int, memory: float) -> tuple[int, int, int]:
    """How many points go together, how many copies or lanes share a pass, and the bytes that this takes. A part of the
    memory is for what autograd keeps, and products that go together are not more than a cache holds."""
    if way in ("coloured", "matrix_free"):
        colours = f.structure.colours if f.structure is not None and way == "coloured" else 1
        steps = () if f.steps is None or f.structure is None else f.steps
        if way == "coloured" and shares(f):
            each = colours * max(1, f.saved)
            block = max(1, min(points, int(SHARED * memory / each)))
            return block, block * colours, block * (one + each)
        wide = max([f.inputs, f.outputs, *(prod(step.after) for step in steps)])
        return 1, colours, 3 * colours * wide * f.itemsize
    if way in ("straight", "chain"):
        widest = max([one, *(f.itemsize * w for w in widths(f, way))])
        together = max(1, min(points, int(min(CACHED, SHARED * memory) / max(1, widest))))
        return together, 1, together * (one + widest)
    each = max(1, f.saved)
    lanes = max(1, int(SHARED * memory / each))
    together = max(1, min(points, lanes))
    return together, lanes, together * one + min(lanes, points * max(f.inputs, f.outputs)) * each


def widths(f: Map, way: str) -> list[int]:
    """Entries of the largest products on the way, for one point."""
    if way == "straight":
        return [16 * f.inputs * f.outputs]
    layers = [layer for layer in f.layers or () if isinstance(layer.module, torch.nn.Linear)]
    sizes = [*(prod(layer.before) for layer in layers), f.outputs]
    return [a * b for a, b in pairwise(sizes)]


def mib(size: float) -> str:
    """Bytes in words.

    >>> mib(3 * 2**20), mib(2**31)
    ('3 MB', '2,048 MB')
    """
    return f"{size / 2**20:,.3g} MB" if size < 2**30 else f"{size / 2**20:,.0f} MB"


def jacobians(f: Map, x: Tensor, made: Plan, out: Tensor | None = None) -> Tensor:
    """J (B, m, n) at the points x (B, n), in blocks that keep the plan, into one tensor, ``out`` where it is given.
    Forward mode gives way to reverse where an operation has no forward rule."""
    J = empty(f, x, made) if out is None else out
    if made.way == "coloured":
        return coloured_blocks(f, x, J, made.points)
    for here, block in modes.parts(x, J, made.points):
        if made.way == "straight":
            assert f.straight is not None
            block.copy_(f.straight(here)[1])
        elif made.way == "chain":
            chain.product(chain.factors(f.layers or (), here, made.scratch), made.split, block)
        elif made.way == "forward":
            try:
                modes.forward(f, here, block, made.lanes)
            except (RuntimeError, NotImplementedError):  # an operation without a forward rule
                modes.reverse(f, here, block, made.lanes)
        else:
            modes.reverse(f, here, block, made.lanes)
    return J


def empty(f: Map, x: Tensor, made: Plan) -> Tensor:
    """Memory for J (B, m, n), laid out as the way writes it: by rows or by columns of all points."""
    if made.way == "forward":
        return x.new_empty(f.inputs, x.shape[0], f.outputs).permute(1, 2, 0)
    if made.way == "reverse" and x.shape[0] > 1:
        return x.new_empty(f.outputs, x.shape[0], f.inputs).transpose(0, 1)
    return x.new_empty(x.shape[0], f.outputs, f.inputs)


def shares(f: Map) -> bool:
    """Whether points go together through one graph when coloured: those of formulas, by rows."""
    return f.structure is not None and f.steps is None and f.rows is not None and not f.structure.by_columns


def coloured_blocks(f: Map, x: Tensor, J: Tensor, points: int) -> Tensor:
    """Coloured Jacobians at the points x (B, n) into J (B, m, n): of formulas by rows, ``points`` at once through one
    graph; of others point by point."""
    assert f.structure is not None
    places = f.structure.places(x.device)
    if shares(f) and len(x) > 1:
        seeds = f.structure.seeds(x)
        for here, block in modes.parts(x, J, points):
            coloured.rows_together(modes.rows_of(f), here, seeds, places, block)
        return J
    for b in range(len(x)):
        coloured.compressed(f.structure, x[b], f.steps, f.call, f.rows, places).dense(J[b])
    return J


def compressed(f: Map, x: Tensor) -> coloured.Compressed:
    """J at x (n,), compressed, where the plan is coloured."""
    assert f.structure is not None
    return coloured.compressed(f.structure, x, f.steps, f.call, f.rows)
