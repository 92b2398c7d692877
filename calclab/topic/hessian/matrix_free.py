"""Without the matrix: eigenvalues at both ends, trace, density, layers and cuts through the loss, by products A v."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from calclab.core import Answer, Columns, Evidence, Labels, Picture, State, Status, Values
from calclab.numerics.krylov import Extremes
from calclab.numerics.operators import LinearOperator
from calclab.numerics.verify import check_gradient
from calclab.schema.topic import Hessian as Knobs
from calclab.second_order.graph import convolves
from calclab.topic.base import Method
from calclab.topic.hessian.answer import answer_of_products
from calclab.topic.hessian.evidence import check_products
from calclab.topic.hessian.layers import Layers
from calclab.topic.hessian.pictures import labels_of_products, pictures_of_products
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.sampling import Against, Bulk, Exact, Trace
from calclab.topic.hessian.slices import Slices, directions
from calclab.topic.hessian.stages import Edges, Point, Stage

MOST_CLASSES = 30  # beyond, outliers are not looked for unless asked
PROBES = 16  # that compare two operators
ROOM = 2**28  # bytes of a basis in float64, from which on it is kept in a smaller type


@dataclass(frozen=True)
class MatrixFree(Method):
    """Stages, one after the other; a step is about one product. The state holds what all have found."""

    problem: CurvatureProblem
    knobs: Knobs
    layers: tuple[str, ...]
    seed: int

    @cached_property
    def ends(self) -> tuple[int, int]:
        """How many eigenvalues at the top and at the bottom."""
        n, classes = self.problem.n, self.problem.classes
        top = self.knobs.top if self.knobs.top is not None else classes + 2 if 0 < classes <= MOST_CLASSES else 5
        top = min(top, n)
        return top, min(self.knobs.bottom, n - top)

    @property
    def kept(self) -> torch.dtype | None:
        """The type of basis vectors: that of the products where float64 would take much room and says no more."""
        own = self.problem.function.start.dtype
        large = self.problem.n * self.knobs.basis * 8 > ROOM
        return own if large and self.knobs.tol >= 100 * torch.finfo(own).eps else None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        knobs, problem, A = self.knobs, self.problem, self.problem.A
        top, bottom = self.ends
        rounding = torch.finfo(problem.function.inside or problem.function.start.dtype).eps
        search = Extremes(
            A, top=top, bottom=bottom, tol=knobs.tol, most_basis=knobs.basis, check=knobs.check, seed=self.seed,
            kept=self.kept,
        )  # fmt: skip
        stages: list[Stage] = [Point(problem), Edges(search, knobs.products, problem.classes, rounding)]
        if knobs.probes:
            stages.append(Bulk(A, knobs.probes, knobs.depth, self.seed, positive=problem.kind != "hessian"))
        if knobs.trace_tol is not None:
            exact = problem.has_diagonal
            sampled = Trace(problem, knobs.trace_tol, knobs.products, knobs.diagonal, self.seed)
            stages.append(Exact(problem, knobs.diagonal) if exact else sampled)
        if knobs.against is not None:
            stages.append(Against(self.difference, PROBES, self.seed))
        if self.layers:
            tol = knobs.trace_tol if knobs.trace_tol is not None else 0.05
            stages.append(Layers(problem, self.layers, tol, knobs.products, self.seed))
        if knobs.slices:
            names = directions(problem.n, top, bottom)
            stages.append(Slices(problem, knobs.slices, names, self.seed))
        return tuple(stages)

    def difference(self) -> LinearOperator:
        assert self.knobs.against is not None, "asked for"
        return self.compared

    @cached_property
    def compared(self) -> LinearOperator:
        return self.problem.A - self.problem.operator(str(self.knobs.against))

    # --- the scan ---

    @property
    def steps(self) -> int:
        """The most there can be."""
        knobs = self.knobs
        return 3 * knobs.products + (knobs.probes + 1) * knobs.depth + 2 * len(self.layers) * knobs.products + 1000

    @property
    def evidence_steps(self) -> int:
        return 2

    def init(self) -> State:
        return {"stage": torch.tensor(0), "own": {}, "found": {}, "products": torch.tensor(0)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        place, found = int(state["stage"]), state["found"]
        if place == len(self.stages):
            return state, {}
        stage = self.stages[place]
        own = stage.step(state["own"] or stage.begin(found), found)
        spent = state["products"] + own["products"]
        values = {"products": spent.double(), **stage.values(own, found)}
        if not bool(own["done"]):
            return {**state, "own": own}, values
        left = {**found, stage.name: stage.finish(own, found)}
        values["stage"] = torch.tensor(float(place + 1), dtype=torch.float64)
        return {"stage": torch.tensor(place + 1), "own": {}, "found": left, "products": spent}, values

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        """At the end of the last stage."""
        column = columns.get("stage")
        if column is None or float(column.data[-1]) < len(self.stages):
            return None
        return column.steps[int((column.data == len(self.stages)).nonzero()[0])], Status.COMPLETED

    # --- what it says ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, found = self.problem.function, state["found"]
        if k == 0:
            return check_gradient(f, f.start, found["point"]["gradient"], k)
        whole = int(state["stage"]) == len(self.stages)
        found = self.so_far(state)["found"]
        return check_products(self.problem, found, self.names, self.seed, k, whole=whole) if "edges" in found else []

    def answer(self, state: State) -> Answer:
        return answer_of_products(self.problem, self.knobs, self.stages, self.so_far(state), self.layers)

    def so_far(self, state: State) -> State:
        """The state with what the stage in hand has found, where the scan was interrupted in it; "cut" names it."""
        place, own, found = int(state["stage"]), state["own"], state["found"]
        if place == len(self.stages):
            return state
        stage = self.stages[place]
        if own and stage.tells(own):
            found = {**found, stage.name: stage.finish(own, found)}
        spent = state["products"] + own["products"] if own else state["products"]
        return {**state, "found": found, "products": spent, "cut": stage.name}

    def notes(self) -> Sequence[str]:
        top, bottom = self.ends
        parts = [f"the {top} largest and {bottom} smallest eigenvalues to {self.knobs.tol:g}"]
        if self.knobs.trace_tol is not None:
            parts.append(f"the trace to {self.knobs.trace_tol:g}")
        if self.knobs.probes:
            parts.append("the density")
        n = self.problem.n
        notes = [f"{n:,} variable{'s' * (n != 1)}: by products with the {self.problem.title}, {', '.join(parts)}"]
        network, dtype = self.problem.network, self.problem.function.start.dtype
        if network is not None and dtype == torch.float64 and convolves(network):
            notes.append("convolutions are slow in float64: dtype=float32 is quicker, and sums stay in float64")
        return notes

    @cached_property
    def names(self) -> tuple[str, ...]:
        top, bottom = self.ends
        return (*(f"top.{i + 1}" for i in range(top)), *(f"bottom.{i + 1}" for i in range(bottom)))

    @property
    def slices(self) -> Slices | None:
        return next((stage for stage in self.stages if isinstance(stage, Slices)), None)

    def labels(self) -> Labels:
        labels = labels_of_products(self.problem, self.knobs, self.names, self.layers)
        return labels if self.slices is None else {**labels, **self.slices.labels()}

    def pictures(self) -> Sequence[Picture]:
        spectrum, layers = self.knobs.probes > 0, bool(self.layers)
        return pictures_of_products(self.problem, spectrum=spectrum, layers=layers, slices=self.slices)
