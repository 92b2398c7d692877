"""The torch program of a formula: one pass over a tape of torch operations.

Constants are folded, shared subexpressions computed once, sums and products are array operations. Single variables
come from one ``unbind``, whose derivative is one ``stack``. Every operation has right first and second derivatives,
also where torch's own have not (see ``slopes``), and a branch that ``where`` does not take never poisons them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from calclab.subject.formula import slopes
from calclab.subject.formula.bind import Bound
from calclab.subject.formula.rewriting import expand, guard
from calclab.subject.formula.tree import COMPARISONS

Value = Any  # a tensor, or a float for a constant


def subtract(a: Value, b: Value) -> Tensor:
    return a - b if isinstance(a, Tensor) else torch.rsub(b, a)


def power(a: Value, b: Value) -> Tensor:
    if isinstance(b, Tensor):
        return torch.pow(a, b)
    if b == 2:
        return a * a
    return a if b == 1 else torch.pow(a, b)


def larger(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b); where both are equal, each has half of the derivative, as of torch.maximum. In forward mode that one
    adds and subtracts the tangent of the side not taken, in which a far smaller one of the other is lost.
    """
    return torch.where(a > b, a, torch.where(a < b, b, torch.maximum(a, b)))


def smaller(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a < b, a, torch.where(a > b, b, torch.minimum(a, b)))


def fixed_power(exponent: float) -> Callable[[Value], Tensor]:
    return lambda a: power(a, exponent)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": operator.add,
    "sub": subtract,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": power,
    "neg": operator.neg,
    "max": larger,
    "min": smaller,
    "gamma": slopes.gamma,
    "lgamma": slopes.lgamma,
    "cbrt": slopes.cbrt,
    "acosh": slopes.acosh,
    "expm1": slopes.expm1,
    "sigmoid": slopes.sigmoid,
    "softplus": slopes.softplus,
    "tanh": slopes.tanh,
    "<": torch.lt,
    "<=": torch.le,
    ">": torch.gt,
    ">=": torch.ge,
    "==": torch.eq,
    "!=": torch.ne,
    "where": torch.where,
    # The gradient through where is masked, so what comes back from a branch not taken is dropped, NaN or not.
    "guard1": lambda test, leaf: torch.where(test, leaf, leaf.detach()),
    "guard0": lambda test, leaf: torch.where(test, leaf.detach(), leaf),
}
# These need tensors on every side; the arithmetic ones take floats, which is quicker.
TENSORS_ONLY = {"max", "min", "atan2", "where", "guard1", "guard0", "<", "<=", ">", ">=", "==", "!="}


@dataclass
class Program:
    """Calls a bound formula on x (n,): () for one root, (m,) for several when ``vector``."""

    bound: Bound
    vector: bool
    dtype: torch.dtype
    device: torch.device
    tape: list[tuple[int, Callable[..., Tensor], int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        bound = self.bound = guard(expand(self.bound))
        tree = bound.tree
        self.constants: list[Value] = [None] * len(tree.nodes)
        needs_tensor: set[int] = set()
        used = reachable(bound)
        self.tape = []
        singles: list[tuple[int, int]] = []
        self.arrays: list[tuple[int, Any]] = []
        for k in used:
            node = tree.nodes[k]
            if k in bound.static:
                self.constants[k] = bound.static[k]
            elif k in bound.places and bound.places[k].dim() == 0:
                singles.append((k, int(bound.places[k])))
            elif k in bound.places:
                self.arrays.append((k, selection(bound.places[k], bound.n)))
            elif node.op in ("sum", "prod"):
                depth = int(tree.nodes[node.args[0]].value)
                self.tape.append((k, reduction(node.op, bound.lengths[node.args[0]], depth), node.args[1], -1, -1))
            else:
                a, b, c = (*node.args, -1, -1)[:3]
                if node.op in ("add", "mul") and a in bound.static:
                    a, b = b, a
                op = node.op if node.op != "guard" else f"guard{int(node.value)}"
                exponent = bound.static.get(b) if op == "pow" else None
                if isinstance(exponent, float):
                    self.tape.append((k, fixed_power(exponent), a, -1, -1))
                    continue
                if op in TENSORS_ONLY:
                    needs_tensor.update(node.args)
                self.tape.append((k, OPERATIONS.get(op) or getattr(torch, op), a, b, c))
        # Unbinding a long x for a few of its coordinates would cost more than selecting them.
        self.unbind = len(singles) > 1 and 4 * len(singles) >= bound.n
        self.singles = singles
        self.fixed: list[int] = []  # constants that must be tensors of x's dtype and device
        self.floats: list[int] = []  # the others: quicker as floats, but see ``fix``
        for k in used:
            if k in bound.static:
                tensor = isinstance(self.constants[k], Tensor) or k in needs_tensor
                (self.fixed if tensor else self.floats).append(k)
                if tensor:
                    value = torch.as_tensor(bound.static[k], dtype=torch.float64)
                    self.constants[k] = value.bool() if tree.nodes[k].op in COMPARISONS else value
        self.roots = tree.roots
        self.constant_roots = sorted(set(tree.roots) & set(bound.static))
        self.ready = list(self.constants)
        self.fix(self.ready, self.dtype, self.device)

    def fix(self, values: list[Value], dtype: torch.dtype, device: torch.device) -> None:
        """Constants for ``dtype``. Forward mode takes a float beside a number () for float64, whatever the dtype of the
        number, so that only in float64 the floats may stay floats.
        """
        for k in self.floats:
            value = self.constants[k]
            values[k] = value if dtype == torch.float64 else torch.tensor(value, dtype=dtype, device=device)
        for k in self.fixed:
            value = self.constants[k]
            values[k] = value.to(device) if value.dtype == torch.bool else value.to(device=device, dtype=dtype)

    def __call__(self, x: Tensor) -> Tensor:
        values = self.ready.copy()
        if x.dtype != self.dtype or x.device != self.device:
            self.fix(values, x.dtype, x.device)
        if self.unbind:
            parts = x.unbind(0)
            for k, place in self.singles:
                values[k] = parts[place]
        else:
            for k, place in self.singles:
                values[k] = x[place]
        for k, select in self.arrays:
            values[k] = select(x)
        for k, f, a, b, c in self.tape:
            if b < 0:
                values[k] = f(values[a])
            elif c < 0:
                values[k] = f(values[a], values[b])
            else:
                values[k] = f(values[a], values[b], values[c])
        for k in self.constant_roots:  # still depends on x formally, with derivative 0
            values[k] = x[:0].sum() + values[k]
        if self.vector:
            return torch.stack([values[k] for k in self.roots])
        return values[self.roots[0]]


def reachable(bound: Bound) -> list[int]:
    """The nodes that the roots need, in order; what lies below a constant is not needed."""
    wanted = set(bound.tree.roots)
    for k in range(len(bound.tree.nodes) - 1, -1, -1):
        if k in wanted and k not in bound.static and k not in bound.places:
            wanted.update(bound.tree.nodes[k].args)
    return sorted(wanted)


def selection(places: Tensor, n: int) -> Callable[[Tensor], Tensor]:
    """x[places]; a slice where the places are evenly spaced, whose derivative is cheap."""
    flat = places.flatten()
    shape = places.shape
    step = int(flat[1] - flat[0]) if len(flat) > 1 else 1
    if step > 0 and bool((flat.diff() == step).all()):
        low, high = int(flat[0]), int(flat[-1]) + 1
        if len(shape) == 1:
            return (lambda x: x) if high - low == n and step == 1 else (lambda x: x[low:high:step])
        return lambda x: x[low:high:step].reshape(shape)
    return lambda x: x.index_select(0, flat.to(x.device)).reshape(shape)


def reduction(op: str, length: int, depth: int) -> Callable[[Tensor], Tensor]:
    """The sum or product over axis 0 of arrays with ``depth`` axes; of ``length`` equal terms otherwise."""

    def total(body: Tensor) -> Tensor:
        if body.dim() == depth:
            return body.sum(0) if op == "sum" else product(body)
        return body * length if op == "sum" else body.pow(length)

    return total


def product(body: Tensor) -> Tensor:
    """Π over axis 0 in halves: right derivatives of every order also where factors are 0."""
    while len(body) > 1:
        half = len(body) // 2
        rest = body[2 * half :]
        body = torch.cat((body[:half] * body[half : 2 * half], rest)) if len(rest) else body[:half] * body[half:]
    return body[0]
