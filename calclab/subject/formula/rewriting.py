"""A bound formula rewritten before it becomes a torch program: the same function, quicker and with right derivatives.

`expand` writes sums of a few terms out: for two or three terms scalars are quicker than arrays.

`guard` keeps the branch that ``where`` does not take out of the derivatives: d/dx where(c, a, b) is where(c, a', b'),
but the chain rule multiplies a' by 0 where c is false, and 0 · NaN is NaN. So every coordinate that enters a branch
passes a guard there, which is the coordinate itself, cut off from derivatives where the branch is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from calclab.errors import UserError
from calclab.subject.formula.bind import Bound, bind
from calclab.subject.formula.tree import Node, Table, Tree

TERMS = 3  # the longest sum that is written out
# Finite wherever their arguments are (or nearly so): branches of these alone need no guard.
TAME = {"add", "sub", "mul", "neg", "sin", "cos", "tanh", "atan", "sigmoid", "relu", "softplus", "max", "min", "abs"}
TAME |= {"erf", "erfc", "sign", "where", "sum", "<", "<=", ">", ">=", "==", "!="}

COPIES = 5_000  # nodes that guarding may add


def expand(bound: Bound) -> Bound:
    """The same function with its short sums written out; sums within sums stay."""
    tree = bound.tree
    inner = [node.op in ("sum", "prod") for node in tree.nodes]  # whether there is a sum at the node or below it
    for k, node in enumerate(tree.nodes):
        inner[k] = inner[k] or any(inner[a] for a in node.args if node.op != "index")
    table = Table()
    moved: list[int] = []
    for node in tree.nodes:
        args = tuple(moved[a] for a in node.args)
        if node.op in ("sum", "prod"):
            index, body = node.args
            low, length = bound.lows[index], bound.lengths[index]
            if tree.nodes[index].value == 1 and 0 < length <= TERMS and not inner[body]:
                terms = [copy(table, moved[body], moved[index], low + j) for j in range(length)]
                total = terms[0]
                for term in terms[1:]:
                    total = table.add(Node("add" if node.op == "sum" else "mul", (total, term)))
                moved.append(total)
                continue
        moved.append(table.add(replace(node, args=args)))
    roots = tuple(moved[root] for root in tree.roots)
    return bind(Tree(tuple(table.nodes), roots, tree.variables, tree.base), bound.variables)


def copy(table: Table, root: int, index: int, value: int) -> int:
    """The expression below ``root`` with a number in the place of an index."""
    below = {root}
    for k in range(root, -1, -1):
        if k in below and k != index:
            below.update(table.nodes[k].args)
    number = Node("number", value=float(value), text=str(value))
    copies = {index: table.add(number)}
    for k in sorted(below - {index}):
        if any(a in copies for a in table.nodes[k].args):
            node = table.nodes[k]
            copies[k] = table.add(replace(node, args=tuple(copies.get(a, a) for a in node.args)))
    return copies.get(root, root)


def guard(bound: Bound) -> Bound:
    """The same function with guarded branches, the numbers of static nodes and coordinates kept.

    Every branch is a copy, and the copies of branches within branches multiply: UserError beyond ``COPIES`` nodes.
    """
    nodes: list[Node] = []
    static: dict[int, float | Tensor] = {}
    places: dict[int, Tensor] = {}
    lows: dict[int, int] = {}
    lengths: dict[int, int] = {}
    known: dict[Node, int] = {}
    moved: list[int] = []

    def leaf(k: int) -> bool:
        return k in places

    def add(node: Node, like: int, source: Bound | None = None) -> int:
        place = known.get(node)
        if place is None:
            place = known[node] = len(nodes)
            nodes.append(node)
            if place > len(bound.tree.nodes) + COPIES:
                raise UserError(
                    f"where(...) stands in where(...) so often that their branches come to more than {COPIES} steps: "
                    "a branch has its own copy of every where that it uses. Nest fewer of them."
                )
        for table, old in (
            (static, bound.static),
            (places, bound.places),
            (lows, bound.lows),
            (lengths, bound.lengths),
        ):
            if source is not None and like in old:
                table[place] = old[like]  # type: ignore[assignment]
        return place

    def guarded(root: int, test: int, side: float) -> int:
        """A copy of the branch below ``root`` whose coordinates are guarded by ``test``."""
        below = {root}
        for k in range(root, -1, -1):
            if k in below and k not in static and k not in places and nodes[k].op != "guard":
                below.update(nodes[k].args)
        variable = [k for k in sorted(below) if k not in static]
        if all(tame(nodes[k], nodes, static, leaf) for k in variable):
            return root
        copies: dict[int, int] = {}
        for k in variable:
            if leaf(k) or nodes[k].op == "guard":
                copies[k] = add(Node("guard", (test, k), side), k)
            else:
                copies[k] = add(replace(nodes[k], args=tuple(copies.get(a, a) for a in nodes[k].args)), k)
        return copies.get(root, root)

    for k, node in enumerate(bound.tree.nodes):
        args = tuple(moved[a] for a in node.args)
        if node.op == "where" and k not in bound.static:
            args = args[0], guarded(args[1], args[0], 1.0), guarded(args[2], args[0], 0.0)
        moved.append(add(replace(node, args=args), k, bound))
    tree = Tree(tuple(nodes), tuple(moved[k] for k in bound.tree.roots), bound.tree.variables, bound.tree.base)
    return Bound(tree, bound.variables, static, places, lows, lengths)


def tame(node: Node, nodes: list[Node], static: dict[int, float | Tensor], leaf: Callable[[int], bool]) -> bool:
    if node.op in TAME or node.op in ("variable", "item", "guard", "index"):
        return True
    if node.op == "div":
        return node.args[1] in static
    if node.op == "pow":
        exponent = static.get(node.args[1])
        return isinstance(exponent, float) and exponent >= 0 and exponent == int(exponent)
    return False
