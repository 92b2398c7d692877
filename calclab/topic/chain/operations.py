"""The chain rule through a formula, operation by operation: values forward, adjoints back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from calclab.core import Answer, Curves, Evidence, Function, Labels, Line, Picture, Said, State, Values
from calclab.numerics.agreement import beside, identity
from calclab.numerics.operators import dense_jacobian
from calclab.numerics.verify import check_gradient, check_jacobian, check_value
from calclab.subject.formula import graph as formula_graph
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.chain.accumulation import accumulated, jacobian, structure, table_labels
from calclab.topic.chain.links import LINKED
from calclab.topic.chain.tree import tree
from calclab.topic.proven import Proven, proven
from calclab.topic.rounding import slack

LISTED = 8  # derivatives, at most, in lines


@dataclass(frozen=True)
class Operations(Method):
    """Step k is operation k: its value v_k, the adjoint v̄_k = ∂f/∂v_k, and how it depends on the variables so far,
    ``product`` = ∂v_k/∂x (n,)."""

    subject: Function
    graph: formula_graph.Graph

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.graph.nodes)

    @property
    def steps(self) -> int:
        return len(self.graph.nodes) - 1

    @property
    def evidence_steps(self) -> int:
        return 1

    def init(self) -> State:
        nodes, edges = accumulated(self.graph)
        return {"nodes": nodes, "edges": edges, "jacobian": jacobian(self.graph)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        n = len(self.graph.inputs)
        row = state["nodes"][n + k]
        product = state["jacobian"][k, :n]
        values = {"value": row[0], "adjoint": row[2], "product": product if n > 1 else product[0]}
        return state, values | ({"nodes": state["nodes"], "edges": state["edges"]} if k == self.steps else {})

    def verify(self, state: State, k: int) -> list[Evidence]:
        """All values, all local derivatives and all that flows back at once; then the whole by itself."""
        if k < self.steps:
            return []
        n, call, x = len(self.graph.inputs), self.graph.call, self.graph.call.start
        J = state["jacobian"].clone()
        J[-1, :n], J[-1, n:] = state["nodes"][:n, 2].to(J), state["edges"][:, 2].to(J)
        rows = [replace(row, quantity=f"values of the {len(J)} operations") for row in
                check_value(call, x, state["nodes"][n:, 0].to(x), k)]  # fmt: skip
        rows += [replace(row, quantity="local derivatives, and what flows back") for row in
                 check_jacobian(call, x, J, k)]  # fmt: skip
        f, start = self.subject, self.subject.start
        gradient = J[-1, :n]
        value, slope = check_value(f, start, state["nodes"][-1, 0].to(x), k), check_gradient(f, start, gradient, k)
        row = identity("derivative", LINKED.replace("links", "operations"), gradient, self.direct(), k,
                       tolerance=slack(f, start, gradient, 1))  # fmt: skip
        return [*rows, *value, *slope, *beside([*value, *slope], [row])]

    def direct(self) -> Tensor:
        return dense_jacobian(self.subject.call, self.subject.start).reshape(-1)

    def answer(self, state: State) -> Answer:
        n, direct = len(self.graph.inputs), self.direct()
        gradient, value = state["nodes"][:n, 2].to(direct), state["nodes"][-1, 0].to(direct)
        slope, height = (proven(self.subject, self.subject.start, part, order) for part, order in
                         ((gradient, 1), (value, 0)))  # fmt: skip
        gap = (gradient - direct).abs().max()
        values: dict[str, Tensor | str] = {
            "derivative": gradient,
            "autodiff": direct,
            **slope.values("derivative"),
            "value": value,
            **height.values("value"),
            "gap": gap,
            "values": state["nodes"][n:, 0],
            "adjoints": state["nodes"][n:, 2],
        }
        assert self.subject.exact is not None
        latex = self.subject.exact.derivative_latex(1)
        lines: list[Said] = [Line("at", self.at()), *self.slopes(slope)]
        lines += tree(structure(self.graph), state["nodes"], state["edges"])
        lines.append(Line("autodiff", f"of the whole: at most {words.number(gap)} apart", of="gap"))
        return Answer(f"f = {height.text()}, by {len(self.names)} operations", values, latex, lines)

    def at(self) -> str:
        f = self.subject
        return ", ".join(f"{name} = {words.number(x)}" for name, x in zip(f.variables[:4], f.start[:4], strict=False))

    def slopes(self, slope: Proven) -> list[Line]:
        """What the products back give, a line for each of a few variables."""
        names = self.subject.variables
        lines = [Line(f"∂f/∂{name}", slope.text(i), of="derivative") for i, name in enumerate(names[:LISTED])]
        return [*lines, Line("...", f"{len(names)} derivatives in all")] if len(names) > LISTED else lines

    def labels(self) -> Labels:
        return {"product": (self.graph.inputs,), "step": (self.names,), **table_labels(structure(self.graph))}

    def pictures(self) -> Sequence[Picture]:
        return [structure(self.graph), Curves("chain", ("value", "adjoint"), log="", axis="operation")]
