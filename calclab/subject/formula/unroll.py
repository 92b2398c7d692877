"""A bound formula as scalar steps: sums written out, so that balls and closed forms need no arrays.

Steps: number (value), pi, x (value: the coordinate), total (a sum of any number of terms), the binary and unary
operations, and ``select``: args (left, right, then, otherwise), ``text`` the comparison. All that has kinks (abs, max,
min, relu, sign, where) becomes a select, so that one place decides what happens at a kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from calclab.subject.formula.bind import Bound
from calclab.subject.formula.tree import COMPARISONS, Node, Table, Tree

STEPS = 300_000
Entry = Callable[[int, dict[int, int]], int]  # the step of a node, at given values of the indices


class TooLargeError(Exception):
    """The formula written out has more than ``STEPS`` steps."""


@dataclass(frozen=True)
class Steps:
    nodes: tuple[Node, ...]
    roots: tuple[int, ...]
    n: int

    def sizes(self) -> list[int]:
        """Nodes below each step when written out as a tree."""
        return Tree(self.nodes, self.roots, ()).sizes()


def unroll(bound: Bound) -> Steps:
    """Every x[...] becomes a coordinate and every sum its terms. Raises TooLargeError."""
    tree = bound.tree
    table = Table()
    needed = set(tree.roots)
    for k in range(len(tree.nodes) - 1, -1, -1):
        if k in needed and tree.nodes[k].op not in ("index", "item"):
            needed.update(tree.nodes[k].args)
    free: dict[int, tuple[int, ...]] = {}  # the indices that a node depends on, outermost first
    entries: dict[int, dict[tuple[int, ...], int]] = {}  # the step of a node, by the values of those indices

    def entry(k: int, at: dict[int, int]) -> int:
        return entries[k][tuple(at[i] for i in free[k])]

    for k in sorted(needed):
        node = tree.nodes[k]
        if node.op in COMPARISONS:  # becomes part of its where
            free[k] = merge(free[a] for a in node.args)
            continue
        if node.op == "index":
            free[k] = few(bound, (k,))
            low = bound.lows[k]
            entries[k] = {(j,): table.add(whole(low + j)) for j in range(bound.lengths[k])}
        elif node.op == "item":
            below = indices_below(tree, node.args[0])
            free[k] = few(bound, below)
            lengths = [bound.lengths[i] for i in below]
            entries[k] = {}
            depths = [int(tree.nodes[i].value) for i in below]
            places = bound.places[k]
            for at in product(*map(range, lengths)):
                # The outermost index is the last axis of the array of places; axes it does not use have length 1.
                position = [0] * places.dim()
                for depth, j in zip(depths, at, strict=True):
                    position[places.dim() - depth] = j
                entries[k][at] = table.add(Node("x", value=float(places[tuple(position)])))
        elif node.op in ("sum", "prod"):
            index, body = node.args
            free[k] = tuple(i for i in free[body] if i != index)
            entries[k] = {}
            for at in product(*(range(bound.lengths[i]) for i in free[k])):
                known = dict(zip(free[k], at, strict=True))
                terms = [entry(body, {**known, index: j}) for j in range(bound.lengths[index])]
                entries[k][at] = total(table, terms) if node.op == "sum" else balanced(table, terms)
        else:
            free[k] = few(bound, merge(free[a] for a in node.args))
            entries[k] = {}
            for at in product(*(range(bound.lengths[i]) for i in free[k])):
                known = dict(zip(free[k], at, strict=True))
                entries[k][at] = step(bound, table, k, known, entry)
        if len(table.nodes) > STEPS:
            raise TooLargeError
    return Steps(tuple(table.nodes), tuple(entries[k][()] for k in tree.roots), bound.n)


def step(bound: Bound, table: Table, k: int, at: dict[int, int], entry: Entry) -> int:
    """One node at given values of the indices around it."""
    node = bound.tree.nodes[k]
    if node.op == "n":
        return table.add(whole(bound.n))
    if node.op == "variable":
        return table.add(Node("x", value=float(bound.places[k])))
    if node.op in ("number", "pi"):
        return table.add(node)
    if node.op == "where":
        test = bound.tree.nodes[node.args[0]]
        sides = [entry(a, at) for a in (*test.args, *node.args[1:])]
        return select(table, test.op, *sides)
    args = [entry(a, at) for a in node.args]
    zero = table.add(whole(0))
    if node.op == "abs":
        return select(table, ">", args[0], zero, args[0], table.add(Node("neg", (args[0],))))
    if node.op == "relu":
        return select(table, ">", args[0], zero, args[0], zero)
    if node.op in ("max", "min"):
        return select(table, ">" if node.op == "max" else "<", args[0], args[1], args[0], args[1])
    if node.op == "sign":
        one = table.add(whole(1))
        below = select(table, "<", args[0], zero, table.add(Node("neg", (one,))), zero)
        return select(table, ">", args[0], zero, one, below)
    return table.add(Node(node.op, tuple(args)))


def select(table: Table, op: str, left: int, right: int, then: int, otherwise: int) -> int:
    return then if then == otherwise else table.add(Node("select", (left, right, then, otherwise), text=op))


def whole(value: int) -> Node:
    return Node("number", value=float(value), text=str(value))


def total(table: Table, terms: Sequence[int]) -> int:
    if not terms:
        return table.add(whole(0))
    return terms[0] if len(terms) == 1 else table.add(Node("total", tuple(terms)))


def balanced(table: Table, factors: Sequence[int]) -> int:
    """A product as a balanced tree: its derivatives pass log2(n) steps."""
    level = list(factors) or [table.add(whole(1))]
    while len(level) > 1:
        pairs = [table.add(Node("mul", (a, b))) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def merge(parts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted({i for part in parts for i in part}))


def few(bound: Bound, indices: tuple[int, ...]) -> tuple[int, ...]:
    """The same indices, unless their values together are too many to write out: TooLargeError."""
    if math.prod(bound.lengths[i] for i in indices) > STEPS:
        raise TooLargeError
    return indices


def indices_below(tree: Tree, root: int) -> tuple[int, ...]:
    """The indices that an index expression is made of."""
    found, stack = set(), [root]
    while stack:
        k = stack.pop()
        if tree.nodes[k].op == "index":
            found.add(k)
        else:
            stack.extend(tree.nodes[k].args)
    return tuple(sorted(found))


def degree(steps: Steps) -> float:
    """The largest degree of a root as a polynomial, read off its steps (terms may cancel); infinite where it is none:
    what tells a quadratic, on which theory is exact."""
    degrees: list[float] = []
    for node in steps.nodes:
        degrees.append(degree_of(node, [degrees[a] for a in node.args], steps.nodes))
    return max(degrees[root] for root in steps.roots)


def degree_of(node: Node, args: Sequence[float], nodes: Sequence[Node]) -> float:
    if node.op == "x":
        return 1
    if not any(args):
        return 0
    match node.op:
        case "add" | "sub" | "total" | "neg":
            return max(args)
        case "mul":
            return sum(args)
        case "div" if args[1] == 0:
            return args[0]
        case "pow" if nodes[node.args[1]].op == "number":
            exponent = nodes[node.args[1]].value
            return args[0] * exponent if exponent >= 0 and exponent == int(exponent) else math.inf
    return math.inf
