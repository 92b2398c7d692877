"""Curvature layer by layer: the extreme eigenvalues and the trace of the diagonal block of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Extremes, Probes
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.sampling import half_size
from calclab.topic.hessian.stages import block

ROUGH = 1e-2  # of the residual of a layer's eigenvalues
COLUMNS = ("layer_top", "layer_bottom", "layer_trace", "layer_trace_error")


@dataclass(frozen=True)
class Layers:
    """One layer after the other: its two extreme eigenvalues, then its trace with what these have found."""

    problem: CurvatureProblem
    names: tuple[str, ...]
    tol: float
    most: int
    seed: int
    name: str = "layers"

    @cached_property
    def held(self) -> dict[int, LinearOperator]:
        """The block in hand: a graph at a time is enough."""
        return {}

    def operator(self, at: int) -> LinearOperator:
        if at not in self.held:
            self.held.clear()
            self.held[at] = self.problem.operator(self.problem.kind, self.names[at])
        return self.held[at]

    def search(self, at: int) -> Extremes:
        A = self.operator(at)
        return Extremes(A, top=1, bottom=min(1, A.shape[0] - 1), tol=ROUGH, most_basis=32, check=0, seed=self.seed)

    def probes(self, at: int, own: State) -> Probes:
        search = self.search(at)
        A, every = search.A, search.subspace(own)
        return Probes(
            A, tol=self.tol, most=self.most, block=block(A), deflate=every, least=half_size(every), seed=self.seed
        )

    def begin(self, found: State) -> State:
        table = torch.full((len(self.names), len(COLUMNS)), torch.nan, dtype=torch.float64)
        zero = torch.tensor(0)
        traces = table[:, 0]
        if self.problem.has_diagonal:
            diagonal = self.problem.exact_diagonal()
            traces = torch.stack([diagonal[self.problem.places(name)].sum() for name in self.names])
        return {
            "traces": traces,
            "at": zero,
            "probing": torch.tensor(False),
            "own": dict(self.search(0).init()),
            "probed": {},
            "table": table,
            "before": zero,
            "products": zero,
            "done": torch.tensor(False),
        }

    def step(self, state: State, found: State) -> State:
        at = int(state["at"])
        if not bool(state["probing"]):
            own = dict(self.search(at).step(state["own"]))
            state = {**state, "own": own, "products": state["before"] + own["products"]}
            if not (bool(own["done"]) or int(own["products"]) >= self.most):
                return state
            if self.problem.has_diagonal:
                trace = state["traces"][at]
                return self.after({**state, "before": state["products"]}, trace, torch.zeros_like(trace))
            probed = dict(self.probes(at, own).init())
            return {**state, "probing": torch.tensor(True), "probed": probed, "before": state["products"]}
        probes = self.probes(at, state["own"])
        probed = dict(probes.step(state["probed"]))
        state = {**state, "probed": probed, "products": state["before"] + probed["products"]}
        if not bool(probed["done"]):
            return state
        mean = probes.trace(probed)
        state = {**state, "before": state["products"], "probing": torch.tensor(False), "probed": {}}
        return self.after(state, mean.value, mean.error)

    def after(self, state: State, trace: Tensor, error: Tensor) -> State:
        """A layer is done: its row of the table, and the next one."""
        at, table = int(state["at"]), state["table"].clone()
        pairs = self.search(at).pairs(state["own"])
        row = (pairs.values[0], pairs.values[-1], trace, error)
        table[at] = torch.stack([entry.to(table) for entry in row])
        state = {**state, "table": table}
        if at + 1 == len(self.names):
            return {**state, "done": torch.tensor(True)}
        return {**state, "at": torch.tensor(at + 1), "own": dict(self.search(at + 1).init())}

    def values(self, state: State, found: State) -> Values:
        return columns(state["table"]) if bool(state["done"]) else {}

    def finish(self, state: State, found: State) -> State:
        return {"table": state["table"], "products": state["products"]}

    def tells(self, state: State) -> bool:
        return int(state["at"]) > 0


def columns(table: Tensor) -> dict[str, Tensor]:
    """The columns (L,) of a table (L, 4) by name."""
    return dict(zip(COLUMNS, table.unbind(1), strict=True))
