"""A short formula and its gradient as one straight line of tensor operations, without autograd.

Autograd builds and walks a graph at every call, which for a formula of two variables costs several times the
arithmetic. Here the reverse sweep (Griewank and Walther 2008, section 3.2) is written out once, in the formula's own
steps, so that what value and gradient share is computed once. Points may have leading axes: a batch of points is the
same line on columns. A vector function is a line for each output, and these give its Jacobian.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from calclab.subject.formula.tensors import OPERATIONS
from calclab.subject.formula.tree import Node, Table, constant
from calclab.subject.formula.unroll import Steps

VARIABLES, LINES = 16, 150  # beyond these, arrays and autograd are as quick


class Straight:
    """x (..., n) to f (...,) and ∇f (..., n)."""

    def __init__(self, steps: Steps) -> None:
        self.roots = steps.roots
        self.ready: list[Any] = [node.value if node.op == "number" else None for node in steps.nodes]
        self.places = [(k, int(node.value)) for k, node in enumerate(steps.nodes) if node.op == "x"]
        self.lines: list[tuple[int, Callable[..., Tensor], Any, int]] = []
        for k, node in enumerate(steps.nodes):
            if node.op in ("x", "number"):
                continue
            a, b = (*node.args, -1)[:2]
            if node.op == "pow" and self.ready[b] == 2:
                self.lines.append((k, OPERATIONS["mul"], a, a))
            else:
                self.lines.append((k, OPERATIONS.get(node.op) or getattr(torch, node.op), a, b))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = self.ready.copy()
        parts = x.unbind(-1)
        for k, place in self.places:
            values[k] = parts[place]
        for k, f, a, b in self.lines:
            values[k] = f(values[a]) if b < 0 else f(values[a], values[b])
        value, *slopes = (values[k] for k in self.roots)
        gradient = [s if isinstance(s, Tensor) else torch.full_like(parts[0], s) for s in slopes]
        return value if isinstance(value, Tensor) else torch.full_like(parts[0], value), torch.stack(gradient, -1)


def straight(steps: Steps) -> Straight | None:
    """The line for one smooth formula; None where it is long, or has a step without an entry in ``SLOPES``."""
    if steps.n > VARIABLES or len(steps.nodes) > LINES:
        return None
    joined = adjoint(steps)
    return None if joined is None or len(joined.nodes) > LINES else Straight(joined)


class Rows:
    """x (..., n) to f (..., m) and J (..., m, n)."""

    def __init__(self, lines: list[Straight]) -> None:
        self.lines = lines

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = zip(*(line(x) for line in self.lines), strict=True)
        return torch.stack(values, -1), torch.stack(gradients, -2)


def straight_rows(steps: Steps) -> Rows | None:
    """The lines of all roots; None where one is long or has a step without an entry in ``SLOPES``."""
    lines: list[Straight] = []
    for root in steps.roots:
        line = straight(replace(steps, roots=(root,)))
        if line is None or sum(len(one.lines) for one in lines) > LINES:
            return None
        lines.append(line)
    return Rows(lines)


def adjoint(steps: Steps) -> Steps | None:
    """The steps of f (the first root) and of its n partial derivatives (the others); None where a slope is missing."""
    write = Writer()
    for node in steps.nodes:
        args = [write.place[a] for a in node.args]
        if node.op == "pi":
            write.place.append(write.number(math.pi))
        elif node.op in ("x", "number"):
            write.place.append(write.table.add(node))
        elif node.op == "total":
            write.place.append(write.total(args))
        elif node.op in SLOPES and (node.op != "pow" or write.known(args[1]) is not None):
            write.place.append(write.op(node.op, *args))
        else:
            return None
    root = write.place[steps.roots[0]]
    terms: dict[int, list[int]] = {root: [write.number(1)]}  # what each step's cotangent is the sum of
    for k in range(root, -1, -1):
        node = write.table.nodes[k]
        if k not in terms or node.op in ("x", "number"):
            continue
        cotangent = write.total(terms[k])
        for a, slope in zip(node.args, SLOPES[node.op](write, k, *node.args), strict=False):
            terms.setdefault(a, []).append(write.op("mul", cotangent, slope))
    coordinates = {int(node.value): k for k, node in enumerate(write.table.nodes) if node.op == "x"}
    zero = write.number(0)
    partials = [write.total(terms.get(coordinates.get(i, -1), [zero])) for i in range(steps.n)]
    return pruned(Steps(tuple(write.table.nodes), (root, *partials), steps.n))


def pruned(steps: Steps) -> Steps:
    """Without the steps that no root needs: what was folded into constants."""
    needed = set(steps.roots)
    for k in range(len(steps.nodes) - 1, -1, -1):
        if k in needed:
            needed.update(steps.nodes[k].args)
    order = sorted(needed)
    place = {k: i for i, k in enumerate(order)}
    nodes = [steps.nodes[k] for k in order]
    moved = tuple(Node(node.op, tuple(place[a] for a in node.args), node.value, node.text) for node in nodes)
    return Steps(moved, tuple(place[root] for root in steps.roots), steps.n)


@dataclass
class Writer:
    """Writes steps; constants are folded, and 0 and 1 leave no trace."""

    table: Table = field(default_factory=Table)
    place: list[int] = field(default_factory=list)  # of the formula's own steps

    def number(self, value: float) -> int:
        return self.table.add(Node("number", value=float(value), text=repr(float(value))))

    def known(self, k: int) -> float | None:
        node = self.table.nodes[k]
        return node.value if node.op == "number" else None

    def total(self, terms: list[int]) -> int:
        result = terms[0]
        for term in terms[1:]:
            result = self.op("add", result, term)
        return result

    def op(self, op: str, *args: int) -> int:
        numbers = [self.known(a) for a in args]
        if all(number is not None for number in numbers):
            return self.number(constant(op, [float(number) for number in numbers if number is not None]))
        if op == "neg" and self.table.nodes[args[0]].op == "neg":
            return self.table.nodes[args[0]].args[0]
        if op in ("add", "mul"):
            neutral = 0.0 if op == "add" else 1.0
            for one, other in (args, args[::-1]):
                if self.known(one) == neutral:
                    return other
                if op == "mul" and self.known(one) == -1:
                    return self.op("neg", other)
        if op == "pow" and numbers[1] == 1:
            return args[0]
        if op == "pow" and numbers[1] == 0:
            return self.number(1)  # also at 0, as everywhere in the lab
        return self.table.add(Node(op, args))


Slopes = Callable[..., tuple[int, ...]]


def unary(slope: Callable[[Writer, int, int], int]) -> Slopes:
    return lambda w, y, a: (slope(w, y, a),)


# Of every operation: ∂y/∂a for each argument a, given the writer, the place of y and those of the arguments.
SLOPES: dict[str, Slopes] = {
    "add": lambda w, y, a, b: (w.number(1), w.number(1)),
    "sub": lambda w, y, a, b: (w.number(1), w.number(-1)),
    "mul": lambda w, y, a, b: (b, a),
    "div": lambda w, y, a, b: (w.op("div", w.number(1), b), w.op("neg", w.op("div", y, b))),
    "pow": lambda w, y, a, b: (w.op("mul", b, w.op("pow", a, w.op("sub", b, w.number(1)))),),
    "neg": unary(lambda w, y, a: w.number(-1)),
    "sin": unary(lambda w, y, a: w.op("cos", a)),
    "cos": unary(lambda w, y, a: w.op("neg", w.op("sin", a))),
    "tan": unary(lambda w, y, a: w.op("add", w.number(1), w.op("mul", y, y))),
    "exp": unary(lambda w, y, a: y),
    "log": unary(lambda w, y, a: w.op("div", w.number(1), a)),
    "sqrt": unary(lambda w, y, a: w.op("div", w.number(0.5), y)),
    "atan": unary(lambda w, y, a: w.op("div", w.number(1), w.op("add", w.number(1), w.op("mul", a, a)))),
    "sinh": unary(lambda w, y, a: w.op("cosh", a)),
    "cosh": unary(lambda w, y, a: w.op("sinh", a)),
}
