"""A formula, or a composition of links, as a graph of operations: what the chain rule walks along.

Node k is v_k = φ_k(v_i, v_j, ...), inputs first, each node after its arguments. To every argument of every node an
offset ε is added, one for each edge:

    v_k = φ_k(v_i + ε_ik, v_j + ε_jk, ...)

so that one Jacobian of one function, (x, ε) to all v, at ε = 0 holds everything: the local derivative ∂φ_k/∂v_i is
∂v_k/∂ε_ik, and what flows back along that edge, v̄_k ∂φ_k/∂v_i with the adjoint v̄_k = ∂f/∂v_k, is ∂f/∂ε_ik
(Griewank and Walther 2008, section 3.2). That function is a formula again: its derivatives are proven like any other's.

>>> from calclab.subject.formula import formula
>>> f = formula(expr="(x**2 + 1)**3", at=[2.0])
>>> [f"{node.name} = {node.text}" for node in graph(f).nodes]
['v1 = x**2', 'v2 = v1 + 1', 'f = v2**3']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from calclab.core import Function
from calclab.subject.formula.bind import bind
from calclab.subject.formula.exact import FormulaExact
from calclab.subject.formula.tensors import Program
from calclab.subject.formula.tree import Node, Table, Tree
from calclab.subject.formula.unroll import Steps

OPERATIONS, EDGES = 40, 100  # that can still be followed
LETTERS, RESULTS = "vuwhq", ("f", "F", "y", "result")
SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4  # how tightly the outermost operation binds
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


@dataclass(frozen=True)
class Operation:
    """``name`` = ``text``, of the nodes numbered ``args``: the inputs come first, then the operations."""

    name: str
    text: str
    args: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """``inputs`` by name, then ``nodes``; the last ``outputs`` of them are the function's own. ``call`` takes
    (x, ε), (n + edges,), to the values of the nodes (N,)."""

    inputs: tuple[str, ...]
    nodes: tuple[Operation, ...]
    outputs: int
    call: Function

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(argument, node) of each edge, in the order of ε."""
        n = len(self.inputs)
        return tuple((a, n + k) for k, node in enumerate(self.nodes) for a in node.args)


def graph(function: Function) -> Graph | None:
    """The graph of a composition, a node for each output of a link, or of a formula, a node for each operation on its
    variables; None of other functions, and where there are more nodes or edges than can be followed."""
    if function.links:
        return of_links(function)
    return of_formula(function)


Part = tuple[Operation, Callable[[Table, Sequence[int]], int]]  # a node, and how it is put into a table


def of_formula(function: Function) -> Graph | None:
    steps = written_out(function)
    if steps is None or len(steps.roots) != 1:
        return None
    active, needed = depending(steps), below(steps, steps.roots)
    operations = [k for k in sorted(needed) if active[k] and steps.nodes[k].op != "x"]
    if not operations or len(operations) > OPERATIONS or operations[-1] != steps.roots[0]:
        return None
    names = named(function.variables, len(operations))
    n = len(function.variables)
    places = {k: int(steps.nodes[k].value) for k in needed if steps.nodes[k].op == "x"}
    places |= {k: n + i for i, k in enumerate(operations)}
    known = {k: (*function.variables, *names)[place] for k, place in places.items()}
    parts: list[Part] = []
    for name, k in zip(names, operations, strict=True):
        op, args = operation(steps, k)
        inner = tuple(dict.fromkeys(a for a in args if active[a]))
        text = written(steps, op, args, known)[0]
        parts.append((Operation(name, text, tuple(places[a] for a in inner)), single(steps, k, inner)))
    return assembled(function, parts, 1)


def of_links(function: Function) -> Graph | None:
    parts: list[Part] = []
    before, first = function.variables, 0
    for link in function.links:
        steps = written_out(link)
        outputs = link.outputs or (link.name,)
        if steps is None or len(parts) + len(outputs) > OPERATIONS:
            return None
        at = {k: int(node.value) for k, node in enumerate(steps.nodes) if node.op == "x"}
        known = {k: before[j] for k, j in at.items()}
        for name, root in zip(outputs, steps.roots, strict=True):
            used = [k for k in sorted(below(steps, [root])) if k in at]
            text = written_whole(steps, root, known)[0]
            parts.append((Operation(name, text, tuple(first + at[k] for k in used)), copied(steps, root, used)))
        first = len(function.variables) if first == 0 else first + len(before)
        before = outputs
    names = [part[0].name for part in parts]
    return assembled(function, parts, len(function.outputs) or 1) if len(set(names)) == len(names) else None


def assembled(function: Function, parts: Sequence[Part], outputs: int) -> Graph | None:
    """The graph of ``parts``, and the function of their perturbed arguments."""
    n, edges = len(function.variables), sum(len(node.args) for node, _ in parts)
    if edges > EDGES:
        return None
    variables = (*function.variables, *(f"ε{i}" for i in range(edges)))  # a name that no formula can have
    table = Table()
    values = [table.add(Node("variable", text=name)) for name in function.variables]
    offsets = iter(variables[n:])
    for node, put in parts:
        shifted = [
            table.add(Node("add", (values[a], table.add(Node("variable", text=next(offsets)))))) for a in node.args
        ]
        values.append(put(table, shifted))
    bound = bind(Tree(tuple(table.nodes), tuple(values[n:]), variables), variables)
    x = function.start
    call = Function(
        name=function.name,
        call=Program(bound, True, x.dtype, x.device),
        start=torch.cat([x, x.new_zeros(edges)]),
        variables=variables,
        outputs=tuple(node.name for node, _ in parts),
        exact=FormulaExact(bound, True, variables),
    )
    return Graph(function.variables, tuple(node for node, _ in parts), outputs, call)


def written_out(function: Function) -> Steps | None:
    """The formula without sums; None of what is no formula, or too large."""
    tape = function.exact.tape if isinstance(function.exact, FormulaExact) else None
    return tape.steps if tape is not None else None


def depending(steps: Steps) -> list[bool]:
    """Whether each step depends on a variable."""
    found: list[bool] = []
    for node in steps.nodes:
        found.append(node.op == "x" or any(found[a] for a in node.args))
    return found


def below(steps: Steps, roots: Sequence[int]) -> set[int]:
    """The steps that the roots are made of; of |a| neither the comparison nor -a is one."""
    found, waiting = set[int](), list(roots)
    while waiting:
        k = waiting.pop()
        if k not in found:
            found.add(k)
            waiting += operation(steps, k)[1]
    return found


def named(variables: Sequence[str], count: int) -> list[str]:
    """v1, v2, ..., f: other letters where a variable has that name."""
    free = [letter for letter in LETTERS if not any(name.startswith(letter) for name in variables)]
    letter = free[0] if free else "node_"
    last = next(name for name in (*RESULTS, "result_") if name not in variables)
    return [*(f"{letter}{i}" for i in range(1, count)), last]


def operation(steps: Steps, k: int) -> tuple[str, tuple[int, ...]]:
    """The operation of a step as it was typed, abs or max again in place of a choice, and its arguments."""
    node = steps.nodes[k]
    if node.op != "select":
        return node.op, node.args
    left, right, then, otherwise = node.args
    zero = steps.nodes[right].op == "number" and steps.nodes[right].value == 0
    if then == left and node.text == ">" and zero and steps.nodes[otherwise] == Node("neg", (left,)):
        return "abs", (left,)
    if then == left and otherwise == right and node.text in "<>":
        if zero and node.text == ">":
            return "relu", (left,)
        return ("max" if node.text == ">" else "min"), (left, right)
    return node.text, node.args


def put(table: Table, op: str, args: Sequence[int]) -> int:
    """An operation as nodes of a tree."""
    if op == "total":
        return list(accumulate(args, lambda a, b: table.add(Node("add", (a, b)))))[-1]
    if len(args) == 4:
        return table.add(Node("where", (table.add(Node(op, tuple(args[:2]))), *args[2:])))
    return table.add(Node(op, tuple(args)))


def single(steps: Steps, k: int, inner: Sequence[int]) -> Callable[[Table, Sequence[int]], int]:
    """One operation: puts it, and the constants in it, into a table."""

    def place(table: Table, given: Sequence[int]) -> int:
        known = dict(zip(inner, given, strict=True))
        op, args = operation(steps, k)
        return put(table, op, [known[a] if a in known else copied(steps, a, [])(table, []) for a in args])

    return place


def copied(steps: Steps, root: int, inner: Sequence[int]) -> Callable[[Table, Sequence[int]], int]:
    """All that lies below a step: puts it into a table, with other nodes in place of the steps ``inner``."""

    def place(table: Table, given: Sequence[int]) -> int:
        known = dict(zip(inner, given, strict=True))
        for k in sorted(below(steps, [root])):
            if k not in known:
                op, args = operation(steps, k)
                known[k] = put(table, op, [known[a] for a in args]) if args else table.add(steps.nodes[k])
        return known[root]

    return place


# --- as text, in the words in which formulas are typed ---

Text = tuple[str, int]


def written_whole(steps: Steps, root: int, known: dict[int, str]) -> Text:
    """All below a step as a formula, the steps in ``known`` by their names."""
    texts = {k: (name, ATOM) for k, name in known.items()}
    for k in sorted(below(steps, [root])):
        if k not in texts:
            op, args = operation(steps, k)
            texts[k] = piece(steps.nodes[k], op, [texts[a] for a in args])
    return texts[root]


def written(steps: Steps, op: str, args: Sequence[int], known: dict[int, str]) -> Text:
    """One operation, its arguments by their names, constants as they are."""
    return piece(None, op, [(known[a], ATOM) if a in known else written_whole(steps, a, {}) for a in args])


def piece(node: Node | None, op: str, args: Sequence[Text]) -> Text:
    if node is not None and op == "number":
        text = node.text or f"{node.value:g}"
        return text, SUM if text.startswith("-") else ATOM
    if op == "pi":
        return "pi", ATOM
    texts = [text for text, _ in args]
    if op == "total":
        few = texts if len(texts) <= 4 else [*texts[:2], "...", texts[-1]]
        return " + ".join(few), SUM
    if op == "neg":
        return f"-{bracket(args[0], PRODUCT)}", SUM
    if op == "pow":
        return f"{bracket(args[0], ATOM)}**{bracket(args[1], ATOM)}", POWER
    if op in ("add", "sub"):
        return (
            f"{texts[0]} {SIGNS[op]} {bracket(args[1], SUM if op == 'add' and texts[1][:1] != '-' else PRODUCT)}",
            SUM,
        )
    if op in SIGNS:
        return f"{bracket(args[0], PRODUCT)}{SIGNS[op]}{bracket(args[1], POWER)}", PRODUCT
    if len(args) == 4:
        return f"where({texts[0]} {op} {texts[1]}, {texts[2]}, {texts[3]})", ATOM
    return f"{op}({', '.join(texts)})", ATOM


def bracket(part: Text, least: int) -> str:
    text, binds = part
    return text if binds >= least else f"({text})"
