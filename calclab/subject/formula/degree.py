"""The degree of a formula as a polynomial: what tells a quadratic, on which theory is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

from calclab.subject.formula.tree import Node
from calclab.subject.formula.unroll import Steps


def degree(steps: Steps) -> float:
    """The largest degree that a root can have, read off its steps (terms may cancel); infinite for no polynomial."""
    degrees: list[float] = []
    for node in steps.nodes:
        degrees.append(of(node, [degrees[a] for a in node.args], steps.nodes))
    return max(degrees[root] for root in steps.roots)


def of(node: Node, args: Sequence[float], nodes: Sequence[Node]) -> float:
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
