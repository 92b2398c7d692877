"""The chain rule through the links of a composition: f = f_L ∘ ... ∘ f_1, so J_f = J_L ... J_1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import (
    Answer,
    Curves,
    Evidence,
    Function,
    Heatmap,
    Labels,
    Line,
    Picture,
    Said,
    State,
    Table,
    Values,
    Verdict,
)
from calclab.numerics.agreement import beside, identity
from calclab.numerics.operators import dense_jacobian
from calclab.numerics.verify import check_gradient, check_jacobian, check_value
from calclab.subject.formula.graph import Graph
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.chain.accumulation import accumulated, structure, table_labels
from calclab.topic.chain.tree import tree
from calclab.topic.proven import Proven, proven
from calclab.topic.rounding import slack

LINKED = "product of the links = autodiff"
LISTED = 4  # variables of the start, at most, in a line
SHOWN = 12  # links in the table, at most
ENTRIES = 10_000  # a Jacobian with more entries is not written


@dataclass(frozen=True)
class Links(Method):
    """Step k applies link k: z_k = f_k(z_{k-1}), J_k = f_k'(z_{k-1}) (m, n_k), product P_k = J_k P_{k-1} (m, n).

    A function that was not given as links is one link. Where every link takes and gives one number the values are
    scalars, otherwise vectors and matrices, one name for each link.
    """

    subject: Function
    graph: Graph | None = None  # its operations, where it is a formula of a few

    @cached_property
    def links(self) -> tuple[Function, ...]:
        return self.subject.links or (self.subject,)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The links' own names; numbered where two are alike."""
        names = [link.name for link in self.links]
        return tuple(names if len(set(names)) == len(names) else [f"{name}#{i}" for i, name in enumerate(names)])

    @property
    def scalar(self) -> bool:
        return all(len(link.variables) == 1 and len(link.outputs) <= 1 for link in self.links)

    @property
    def steps(self) -> int:
        return len(self.links) - 1

    @property
    def evidence_steps(self) -> int:
        return 2 * (self.steps + 1)  # every one of them

    def init(self) -> State:
        x = self.subject.start
        return {"value": x, "product": torch.eye(len(x), dtype=x.dtype, device=x.device)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        link, name, z = self.links[k], self.names[k], state["value"]
        value = link.call(z).detach().reshape(-1)
        local = dense_jacobian(link.call, z).reshape(len(value), len(z))
        now = {"value": value, "local": local, "product": local @ state["product"]}
        new = {**state, "input": z, **now, **{f"{key}.{name}": tensor for key, tensor in now.items()}}
        tables: dict[str, Tensor] = {}
        if self.graph is not None and k == self.steps:
            tables["nodes"], tables["edges"] = accumulated(self.graph)
            new |= tables
        if self.scalar:
            return new, {key: tensor.reshape(()) for key, tensor in now.items()} | tables
        return new, {f"{key}.{name}": tensor for key, tensor in now.items() if tensor.numel() <= ENTRIES} | tables

    def verify(self, state: State, k: int) -> list[Evidence]:
        link, z = self.links[k], state["input"]
        value = state["value"].reshape(()) if link.scalar else state["value"]
        evidence = check_value(link, z, value, k) + check_slopes(link, z, state["local"], k)
        if k > 0:
            x, whole = self.subject.start, state["product"]
            direct = dense_jacobian(self.composed(k), x).reshape(whole.shape)
            part = " ∘ ".join(reversed(self.names[: k + 1]))
            allowed = slack(self.subject, x, whole, 1) if k == self.steps else None
            row = identity(f"derivative of {part}", LINKED, whole, direct, k, tolerance=allowed)
            evidence += [row] if link.exact is None else beside(evidence, [row])
            if k == self.steps:  # links may each be right for what they are handed, and the whole not
                evidence += check_value(self.subject, x, value, k)
                evidence += map(of_product, check_slopes(self.subject, x, whole, k))
        return evidence

    def composed(self, k: int) -> Function.call:  # type: ignore[valid-type]
        """Links 0 to k as one map; the last is the function itself."""
        if k == self.steps:
            return self.subject.call

        def call(x: Tensor) -> Tensor:
            for link in self.links[: k + 1]:
                x = link.call(x).reshape(-1)
            return x

        return call

    def answer(self, state: State) -> Answer:
        x, whole = self.subject.start, state["product"]
        direct = dense_jacobian(self.subject.call, x).reshape(whole.shape)
        ends = {"derivative": whole, "autodiff": direct}
        values: dict[str, Tensor | str] = {k: J.reshape(()) if self.scalar else J for k, J in ends.items()}
        shown = self.whole(state)
        values |= {**shown[1].values("derivative"), **shown[0].values("value")}
        values["gap"] = (whole - direct).abs().max()
        if self.scalar:
            for key in ("value", "local", "product"):
                values[f"{key}s"] = torch.cat([state[f"{key}.{name}"].reshape(1) for name in self.names])
        values |= {
            f"{key} of {name}": state[f"{key}.{name}"].reshape(()) if self.scalar else state[f"{key}.{name}"]
            for name in self.names
            for key in ("value", "local", "product")
        }
        latex = [text for link in self.links if link.exact is not None for text in link.exact.derivative_latex(1)]
        return Answer(self.headline(state), values, latex, self.lines_to_read(state, direct))

    def headline(self, state: State) -> str:
        count = f"the product of {len(self.names)} local derivatives" if len(self.names) > 1 else "of a single link"
        if self.scalar:
            return f"df/d{self.subject.variables[0]} = {self.whole(state)[1].text()}, {count}"
        return f"a {' × '.join(map(str, state['product'].shape))} Jacobian, {count.replace('derivative', 'Jacobian')}"

    def lines_to_read(self, state: State, direct: Tensor) -> list[Said]:
        """The point, the links with their values and derivatives, and autodiff of the whole beside the product."""
        names, start = self.subject.variables[:LISTED], self.subject.start[:LISTED]
        at = [f"{name} = {words.number(x)}" for name, x in zip(names, start, strict=True)]
        more = f", ... ({len(self.subject.start)} in all)" if len(self.subject.start) > LISTED else ""
        off = words.number((state["product"] - direct).abs().max())
        lines: list[Said] = [Line("at", ", ".join(at) + more)]
        if self.graph is not None and "nodes" in state:
            lines += tree(structure(self.graph), state["nodes"], state["edges"])
        if len(lines) == 1:
            lines.append(self.table(state))
        if len(lines) == 2 and len(self.names) > SHOWN:
            lines.append(Line("...", f"{len(self.names)} links in all"))
        if self.scalar:
            factors = " · ".join(words.number(state[f"local.{name}"]) for name in reversed(self.names))
            value, slope = self.whole(state)
            lines.append(Line("value", value.text(), "value"))
            lines.append(Line("chain rule", f"{factors} = {slope.text()}", "derivative"))
            lines.append(Line("autodiff", f"{words.number(direct)} of the whole, {off} apart", "gap"))
        else:
            lines.append(Line("autodiff", f"of the whole: at most {off} apart", "gap"))
        return lines

    def table(self, state: State) -> Table:
        """The links, each with its value, its own derivative and the one of all up to it; of matrices the shapes."""
        rows: list[tuple[str, ...]] = []
        for name in self.names[:SHOWN]:
            parts = [state[f"{key}.{name}"] for key in ("value", "local", "product")]
            rows.append((name, *(words.number(part) if self.scalar else words.shape(part) for part in parts)))
        kind = "derivative" if self.scalar else "Jacobian"
        return Table("links", ("link", "value", f"local {kind}", f"{kind} so far"), rows)

    def whole(self, state: State) -> tuple[Proven, Proven]:
        """The value and the derivative of the whole, proven where they can be."""
        f, x, J = self.subject, self.subject.start, state["product"]
        value = state["value"].reshape(()) if f.scalar else state["value"]
        return proven(f, x, value, 0), proven(f, x, J[0] if f.scalar else J, 1)

    def labels(self) -> Labels:
        labels: dict[str, tuple[Sequence[str], ...]] = {"step": (self.names,)}
        if self.graph is not None:
            labels |= table_labels(structure(self.graph))
        if self.scalar:
            return labels
        for name, link in zip(self.names, self.links, strict=True):
            outputs = link.outputs or (link.name,)
            labels[f"value.{name}"] = (outputs,)
            labels[f"local.{name}"] = (outputs, link.variables)
            labels[f"product.{name}"] = (outputs, self.subject.variables)
        return labels

    def pictures(self) -> Sequence[Picture]:
        graph = [] if self.graph is None else [structure(self.graph)]
        if self.scalar:
            return [*graph, Curves("chain", ("value", "local", "product"), log="", axis="link")]
        matrices = (f"{key}.{name}" for name in self.names for key in ("local", "product"))
        return [*graph, *(Heatmap(name, name) for name in matrices)]


def of_product(row: Evidence) -> Evidence:
    """A product of links rounds otherwise than autograd of the whole, which therefore refutes nothing."""
    return replace(row, verdict=Verdict.SUSPECT) if row.verdict is Verdict.REFUTED else row


def check_slopes(function: Function, x: Tensor, J: Tensor, k: int) -> list[Evidence]:
    """Evidence for a Jacobian (m, n), which for a scalar function is its gradient as one row."""
    return check_gradient(function, x, J[0], k) if function.scalar else check_jacobian(function, x, J, k)
