"""Writes sums of a few terms out: for two or three terms scalars are quicker than arrays."""

from __future__ import annotations

from dataclasses import replace

from calclab.subject.formula.bind import Bound, bind
from calclab.subject.formula.tree import Node, Table, Tree

TERMS = 3  # the longest sum that is written out


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
