"""A formula as an immutable table of nodes, each after its arguments, equal subexpressions once.

A flat table instead of nested objects: every pass over a formula is one loop, so nothing depends on Python's
recursion limit, and what two outputs or two links share is computed once. Operations (``op``, ``args``):

    number (value, text)   pi   n           constants; n is the dimension
    variable (text)                         a coordinate by its name
    item (text) : index                     the coordinate ``text[index]``, the index an expression of numbers
    index (text, value): low, high          the summation index ``text`` in depth ``value`` (1 is the outermost)
    sum, prod : index, body                 over low <= index <= high
    < <= > >= == != : left, right           only as the first argument of where
    where : condition, then, otherwise
    guard (value) : condition, leaf         the leaf, without derivative where the condition is not ``value``
    add sub mul div pow neg, functions      see ``FUNCTIONS``; of constants: see `constant`
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

# Name: numbers of arguments allowed. max and min take two or more, and become binary nodes.
FUNCTIONS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh"), (1,)),
    **dict.fromkeys(("atanh", "exp", "log2", "log10", "log1p", "expm1", "sqrt", "cbrt", "abs", "sign"), (1,)),
    **dict.fromkeys(("sigmoid", "relu", "softplus", "erf", "erfc", "gamma", "lgamma"), (1,)),
    "log": (1, 2),
    "atan2": (2,),
    "max": tuple(range(2, 100)),
    "min": tuple(range(2, 100)),
    "where": (3,),
    "sum": (4,),
    "prod": (4,),
}


@dataclass(frozen=True, slots=True)
class Node:
    op: str
    args: tuple[int, ...] = ()
    value: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Tree:
    """``roots`` are the outputs; ``variables`` the names in use, in their order; ``base`` is x where x[i] is used."""

    nodes: tuple[Node, ...]
    roots: tuple[int, ...]
    variables: tuple[str, ...]
    base: str | None = None

    @property
    def sized(self) -> bool:
        """Whether the formula speaks of its dimension, so that one text serves every n."""
        return any(node.op == "n" for node in self.nodes)

    def sizes(self) -> list[int]:
        """Nodes below each node when written out as a tree; may be astronomically larger than the table."""
        sizes: list[int] = []
        for node in self.nodes:
            sizes.append(1 + sum(sizes[a] for a in node.args))
        return sizes


@dataclass
class Table:
    """Grows the nodes of a tree; a node equal to an earlier one gets that one's number."""

    nodes: list[Node] = field(default_factory=list)
    known: dict[Node, int] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        place = self.known.get(node)
        if place is None:
            place = self.known[node] = len(self.nodes)
            self.nodes.append(node)
        return place


ON_FLOATS: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": math.pow,
    "neg": operator.neg,
    "abs": abs,
    "max": max,
    "min": min,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)),
    "relu": lambda x: max(x, 0.0),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def constant(op: str, args: Sequence[float]) -> float:
    """The value of one operation on Python floats; NaN outside its domain, infinite on overflow."""
    try:
        return float((ON_FLOATS.get(op) or getattr(math, op))(*args))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return math.nan
