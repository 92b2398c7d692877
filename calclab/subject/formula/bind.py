"""A formula with its dimension: every index a known range, every x[...] a known coordinate.

Values of a node inside sums carry one axis for each open index, the outermost index last: the index in depth d is an
array of shape (length, 1, ..., 1) with d axes, so that arrays of different depth broadcast by themselves, and the
innermost sum runs over axis 0 of an array with d axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.subject.formula.tree import COMPARISONS, Node, Tree, constant

TERMS = 500_000  # the most terms of nested sums: each takes eight bytes in every array on the way


@dataclass(frozen=True)
class Bound:
    """``static`` holds, for each node that no coordinate enters, its value: a float, or a float64 (bool) array.

    ``places`` holds for each variable its coordinate (), and for each x[...] its coordinates, an int64 array.
    ``lengths`` is the number of terms of each index, ``lows`` its first value.
    """

    tree: Tree
    variables: tuple[str, ...]
    static: dict[int, float | Tensor]
    places: dict[int, Tensor]
    lows: dict[int, int]
    lengths: dict[int, int]

    @property
    def n(self) -> int:
        return len(self.variables)


def bind(tree: Tree, variables: Sequence[str]) -> Bound:
    """Fix the dimension to the number of ``variables`` and work out all that does not depend on the coordinates."""
    n = len(variables)
    position = {name: k for k, name in enumerate(variables)}
    static: dict[int, float | Tensor] = {}
    places: dict[int, Tensor] = {}
    lows: dict[int, int] = {}
    lengths: dict[int, int] = {}
    opened: dict[int, int] = {}  # terms of the nested sums around an index, itself included
    for k, node in enumerate(tree.nodes):
        if node.op == "variable":
            places[k] = torch.tensor(position[node.text])
        elif node.op == "item":
            places[k] = coordinates(node, static.get(node.args[0]), n)
        elif node.op == "index":
            low, high = (whole(static.get(a), node.text) for a in node.args)
            depth = int(node.value)
            lows[k], lengths[k] = low, max(high - low + 1, 0)
            around = max((opened[j] for j in opened if tree.nodes[j].value == depth - 1), default=1)
            opened[k] = around * lengths[k]
            if opened[k] > TERMS:
                raise UserError(f"The sums over {node.text} have {opened[k]} terms; {TERMS} is the limit.")
            axis = torch.arange(low, low + lengths[k], dtype=torch.float64)
            static[k] = axis.reshape(-1, *[1] * (depth - 1))
        elif node.op in ("sum", "prod"):
            if lengths[node.args[0]] == 0:
                static[k] = 0.0 if node.op == "sum" else 1.0
            elif node.args[1] in static:
                depth = int(tree.nodes[node.args[0]].value)
                static[k] = reduce(node.op, static[node.args[1]], lengths[node.args[0]], depth)
        elif all(a in static for a in node.args):
            static[k] = evaluate(node, [static[a] for a in node.args], n)
    return Bound(tree, tuple(variables), static, places, lows, lengths)


def evaluate(node: Node, args: list[float | Tensor], n: int) -> float | Tensor:
    """A node without coordinates."""
    if node.op == "number":
        return node.value
    if node.op == "pi":
        return math.pi
    if node.op == "n":
        return float(n)
    if node.op == "where" and not isinstance(args[0], Tensor):
        return args[1] if args[0] else args[2]
    if not any(isinstance(a, Tensor) for a in args) and node.op != "where":
        return constant(node.op, [float(a) for a in args])
    tensors = [torch.as_tensor(a, dtype=torch.float64) for a in args]
    arrays: Sequence[Tensor] = torch.broadcast_tensors(*tensors)  # type: ignore[no-untyped-call]
    if node.op == "where":
        return torch.where(arrays[0].bool(), arrays[1], arrays[2])
    columns = [a.flatten().tolist() for a in arrays]
    values = [constant(node.op, entries) for entries in zip(*columns, strict=True)]
    value = torch.tensor(values, dtype=torch.float64).reshape(arrays[0].shape)
    return value.bool() if node.op in COMPARISONS else value


def reduce(op: str, body: float | Tensor, length: int, depth: int) -> float | Tensor:
    """A sum or product, over the index in ``depth``, of terms without coordinates."""
    if isinstance(body, Tensor) and body.dim() == depth:
        total = body.sum(0) if op == "sum" else body.prod(0)
        return float(total) if total.dim() == 0 else total
    if isinstance(body, Tensor):
        return body * length if op == "sum" else body**length
    return constant("mul" if op == "sum" else "pow", [body, length])


def whole(value: float | Tensor | None, index: str) -> int:
    """A bound of an index: a whole number made of numbers and n."""
    if not isinstance(value, float) or not math.isfinite(value) or value != int(value) or abs(value) > TERMS:
        raise UserError(
            f"The bounds of the index {index} are whole numbers made of numbers and n, as in "
            f"sum({index}, 0, n - 1, ...). A bound that changes with another index is written where(j <= i, term, 0)."
        )
    return int(value)


def coordinates(node: Node, index: float | Tensor | None, n: int) -> Tensor:
    """The coordinates that x[...] stands for."""
    if index is None:
        raise UserError(f"The index of {node.text}[...] is made of numbers, n and indices of sums, not of variables.")
    values = torch.as_tensor(index, dtype=torch.float64)
    wrong = (values != values.round()) | (values < 0) | (values >= n)
    if bool(wrong.any()):
        raise UserError(
            f"{node.text}[{float(values[wrong].flatten()[0]):g}] does not exist: the formula has {n} "
            f"variable{'s' * (n != 1)}, {node.text}[0] to {node.text}[{n - 1}]. "
            "Give a larger n, or change the sum's bounds."
        )
    return values.long()
