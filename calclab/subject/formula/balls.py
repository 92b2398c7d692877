"""Arb balls through a formula: values, gradients by reverse mode, Hessians by sparse forward over reverse.

Every operation on balls encloses the true result (Johansson, "Arb: efficient arbitrary-precision midpoint-radius
interval arithmetic", IEEE Trans. Computers 66, 2017), so what comes out is proven. Outside a domain a ball is NaN.

One sweep takes one side of each comparison; which sides count is for `enclosure`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from calclab.subject.formula import rules
from calclab.subject.formula.precision import cost, spend
from calclab.subject.formula.rules import FIRST, SECOND, cut_side, flint, nan, on_cut
from calclab.subject.formula.tree import Node
from calclab.subject.formula.unroll import Steps

Arb = Any  # flint.arb
Choice = dict[int, bool]


class Tape:
    """A formula ready for balls: which steps depend on x, and who uses them."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.nodes = steps.nodes
        active: list[bool] = []
        for node in self.nodes:
            active.append(node.op == "x" or any(active[a] for a in node.args))
        self.active = active
        self.cost = sum(cost(node.op, len(node.args)) for node in self.nodes)
        self.leaf = {int(node.value): k for k, node in enumerate(self.nodes) if node.op == "x"}

    @cached_property
    def below(self) -> list[int]:
        """The set of coordinates that each step is written with, as the bits of a number."""
        below: list[int] = []
        for node in self.nodes:
            own = 1 << int(node.value) if node.op == "x" else 0
            for a in node.args:
                own |= below[a]
            below.append(own)
        return below

    @cached_property
    def compared(self) -> dict[int, int]:
        """The coordinates that decide on the side of a step: those of what a select compares, and of the y of atan2."""
        sides = {"select": 2, "atan2": 1}
        return {
            k: self.below[node.args[0]] | self.below[node.args[sides[node.op] - 1]]
            for k, node in enumerate(self.nodes)
            if node.op in sides
        }

    def users(self, chosen: Sequence[tuple[int, ...]]) -> list[list[tuple[int, int]]]:
        """For every step the (step, place) that it is an argument of."""
        users: list[list[tuple[int, int]]] = [[] for _ in self.nodes]
        for k, args in enumerate(chosen):
            if self.active[k]:
                for place, a in enumerate(args):
                    if self.active[a]:
                        users[a].append((k, place))
        return users


class Sweep:
    """The formula at one point, at the precision of the moment, with given sides at the kinks."""

    def __init__(self, tape: Tape, x: Sequence[Arb], choice: Choice | None = None, lose: bool = False) -> None:
        self.lose = lose  # give NaN at every kink instead of choosing
        spend(tape.cost)
        self.tape = tape
        self.x = x
        self.values: list[Arb] = []
        self.chosen: list[tuple[int, ...]] = []  # arguments that count: of a select the side taken
        self.ties: list[int] = []  # both sides equal, or not told apart
        self.undecided: list[int] = []  # not told apart
        self.lost: set[int] = set()  # kinks at which no side was chosen
        for k, node in enumerate(tape.nodes):
            args: tuple[int, ...]
            if node.op == "x":
                at = x[int(node.value)]
                value, args = at if at.is_finite() else nan(), ()
            elif node.op == "select":
                value, args = self.select(k, node, choice or {})
            elif node.op == "atan2" and on_cut(self.values[node.args[0]], self.values[node.args[1]]):
                value, args = self.cut(k, node, choice or {}), node.args
            else:
                args = node.args
                value = rules.value(node, [self.values[a] for a in args])
            self.values.append(value)
            self.chosen.append(args)
        self.partials: list[list[Arb] | None] = [None] * len(self.values)

    def select(self, k: int, node: Node, choice: Choice) -> tuple[Arb, tuple[int, ...]]:
        left, right, then, otherwise = node.args
        a, b = self.values[left], self.values[right]
        difference = a - b
        same = left == right  # a number compared with itself: no neighbour decides otherwise
        equal = same or difference.is_zero()
        decided = equal or difference > 0 or difference < 0
        if difference.is_nan() or (self.lose and not decided):
            self.lost.add(k)
            return (nan() if difference.is_nan() else rules.anything()), node.args
        if not decided or (equal and not same and (self.tape.active[left] or self.tape.active[right])):
            self.ties.append(k)
            if self.lose:
                self.lost.add(k)
        if not decided:
            self.undecided.append(k)
        if k in choice:
            yes = choice[k]
        else:
            yes = COMPARED[node.text](0 if equal else 1 if difference > 0 else -1) if decided else True
        taken = then if yes else otherwise
        return self.values[taken], node.args if k in self.lost else (taken,)

    def cut(self, k: int, node: Node, choice: Choice) -> Arb:
        """atan2 where it jumps from π to -π: on the side chosen; on the cut itself it is π."""
        y, x = (self.values[a] for a in node.args)
        decided = y.is_zero()
        if not decided:
            self.undecided.append(k)
        if not decided or self.tape.active[node.args[0]]:
            self.ties.append(k)
            if self.lose:
                self.lost.add(k)
        return rules.anything() if self.lose and not decided else cut_side(y, x, choice.get(k, True))

    def first(self, k: int) -> list[Arb]:
        """The partial derivatives of a step by its arguments."""
        found = self.partials[k]
        if found is None:
            node = self.tape.nodes[k]
            if k in self.lost:  # nothing is known of how it moves
                found = [rules.anything()] * len(self.chosen[k])
            elif node.op == "select":
                found = [1]
            else:
                args = self.chosen[k]
                live = [self.tape.active[a] for a in args]
                spend(cost(node.op, 2))
                values = [self.values[a] for a in args]
                found = [rules.sure(p, values) for p in FIRST[node.op](node, values, self.values[k], live)]
            self.partials[k] = found
        return found

    def adjoints(self, root: int) -> dict[int, Arb]:
        """∂root/∂step for every step that root depends on."""
        adjoint: dict[int, Arb] = {root: 1}
        pending = [-root] if self.tape.active[root] else []
        while pending:
            k = -heapq.heappop(pending)
            for a, partial in zip(self.chosen[k], self.first(k), strict=True):
                if self.tape.active[a]:
                    if a in adjoint:
                        adjoint[a] = adjoint[a] + adjoint[k] * partial
                    else:
                        adjoint[a] = adjoint[k] * partial
                        heapq.heappush(pending, -a)
        spend(2 * len(adjoint))
        return adjoint

    def gradient(self, root: int) -> dict[int, Arb]:
        """The nonzero partial derivatives of ``root`` by coordinate."""
        adjoint = self.adjoints(root)
        return {i: adjoint[k] for i, k in self.tape.leaf.items() if k in adjoint}

    def hessian(self, root: int, users: list[list[tuple[int, int]]]) -> dict[tuple[int, int], Arb]:
        """The nonzero second derivatives (i, j): one sparse forward and one sparse backward pass for each j."""
        adjoint = self.adjoints(root)
        place = {k: i for i, k in self.tape.leaf.items()}
        found: dict[tuple[int, int], Arb] = {}
        for j, leaf in self.tape.leaf.items():
            if leaf in adjoint:
                for k, value in self.column(leaf, adjoint, users).items():
                    if k in place:
                        found[place[k], j] = value
        return found

    def column(self, leaf: int, adjoint: dict[int, Arb], users: list[list[tuple[int, int]]]) -> dict[int, Arb]:
        """d(adjoint)/dx_j for the steps where it is not zero."""
        tangent: dict[int, Arb] = {leaf: 1}
        pending, order = [leaf], []
        while pending:
            k = heapq.heappop(pending)
            order.append(k)
            for user, where in users[k]:
                if user in adjoint:
                    move = self.first(user)[where] * tangent[k]
                    if user in tangent:
                        tangent[user] = tangent[user] + move
                    else:
                        tangent[user] = move
                        heapq.heappush(pending, user)
        change: dict[int, Arb] = {}
        queue = [-k for k in order]
        heapq.heapify(queue)
        queued = set(order)

        def push(k: int, value: Arb) -> None:
            change[k] = change[k] + value if k in change else value
            if k not in queued:
                queued.add(k)
                heapq.heappush(queue, -k)

        nodes, active = self.tape.nodes, self.tape.active
        while queue:
            k = -heapq.heappop(queue)
            args = self.chosen[k]
            if k in tangent and nodes[k].op in SECOND:
                live = [active[a] for a in args]
                values = [self.values[a] for a in args]
                seconds = SECOND[nodes[k].op](nodes[k], values, self.values[k], live)
                for (p, q), second in seconds.items():
                    if active[args[p]] and args[q] in tangent:
                        push(args[p], adjoint[k] * rules.sure(second, values) * tangent[args[q]])
                spend(cost(nodes[k].op, 2))
            if k in change:
                for a, partial in zip(args, self.first(k), strict=True):
                    if active[a]:
                        push(a, change[k] * partial)
        spend(2 * (len(tangent) + len(change)))
        return change


def underflow(sweep: Sweep, least: float) -> list[bool]:
    """Of each root whether a value that enters it, or a term of reverse mode, is below ``least`` and not zero: a float
    has lost digits of it, and a large factor further on may make them count. Balls, whose exponents have no end, do not
    show it.
    """
    small = flint().arb(least)

    def lost(value: Arb) -> bool:
        return bool(value != 0 and abs(value) < small)

    def of(root: int) -> bool:
        adjoint = sweep.adjoints(root)
        terms = (adjoint[k] * partial for k in adjoint if sweep.chosen[k] for partial in sweep.first(k))
        return any(lost(sweep.values[k]) for k in adjoint) or any(map(lost, terms))

    return [of(root) for root in sweep.tape.steps.roots]


COMPARED: dict[str, Callable[[int], bool]] = {
    "<": lambda s: s < 0,
    "<=": lambda s: s <= 0,
    ">": lambda s: s > 0,
    ">=": lambda s: s >= 0,
    "==": lambda s: s == 0,
    "!=": lambda s: s != 0,
}
