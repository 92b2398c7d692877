"""Without the matrix: eigenvalues at both ends, trace, density, layers and cuts through the loss, by products A v."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from calclab.core import (
    Answer,
    Columns,
    Evidence,
    Labels,
    Picture,
    State,
    Status,
    Tracks,
    Values,
)
from calclab.numerics.krylov import Extremes
from calclab.numerics.operators import LinearOperator
from calclab.numerics.verify import check_gradient
from calclab.schema.topic import Hessian as Knobs
from calclab.second_order.graph import convolves
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.hessian import evidence, senses
from calclab.topic.hessian.bulk import GRID, Against, Bulk
from calclab.topic.hessian.edges import Edges
from calclab.topic.hessian.layers import COLUMNS, Layers, bars
from calclab.topic.hessian.looked import Looked
from calclab.topic.hessian.report import answer, mean_of
from calclab.topic.hessian.slices import Slices, directions
from calclab.topic.hessian.stages import Point, Stage, unpacked
from calclab.topic.hessian.trace import Exact, Trace

BINS = 50  # rows of the table of the spectrum
PROBES = 16  # that compare two operators
ROOM = 2**28  # bytes of a basis in float64, from which on it is kept in a smaller type
TRUTH = 400  # variables up to which the matrix is formed as evidence


@dataclass(frozen=True)
class MatrixFree(Method):
    """Stages, one after the other; a step is about one product. The state holds what all have found."""

    looked: Looked
    knobs: Knobs
    layers: tuple[str, ...]
    seed: int

    @cached_property
    def ends(self) -> tuple[int, int]:
        """How many eigenvalues at the top and at the bottom."""
        n, classes = self.looked.n, self.looked.classes
        top = self.knobs.top if self.knobs.top is not None else classes + 2 if 0 < classes <= MOST_CLASSES else 5
        top = min(top, n)
        return top, min(self.knobs.bottom, n - top)

    @property
    def kept(self) -> torch.dtype | None:
        """The type of basis vectors: that of the products where float64 would take much room and says no more."""
        own = self.looked.function.start.dtype
        large = self.looked.n * self.knobs.basis * 8 > ROOM
        return own if large and self.knobs.tol >= 100 * torch.finfo(own).eps else None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        knobs, looked, A = self.knobs, self.looked, self.looked.A
        top, bottom = self.ends
        rounding = torch.finfo(looked.function.start.dtype).eps
        search = Extremes(
            A, top=top, bottom=bottom, tol=knobs.tol, most_basis=knobs.basis, check=knobs.check, seed=self.seed,
            kept=self.kept,
        )  # fmt: skip
        stages: list[Stage] = [Point(looked), Edges(search, knobs.products, looked.classes, rounding)]
        if knobs.probes:
            stages.append(Bulk(A, knobs.probes, knobs.depth, self.seed, positive=looked.kind != "hessian"))
        if knobs.trace_tol is not None:
            exact = looked.has_diagonal
            sampled = Trace(looked, knobs.trace_tol, knobs.products, knobs.diagonal, self.seed)
            stages.append(Exact(looked, knobs.diagonal) if exact else sampled)
        if knobs.against is not None:
            stages.append(Against(self.difference, PROBES, self.seed))
        if self.layers:
            tol = knobs.trace_tol if knobs.trace_tol is not None else 0.05
            stages.append(Layers(looked, self.layers, tol, knobs.products, self.seed))
        if knobs.slices:
            names = directions(looked.n, top, bottom)
            stages.append(Slices(looked, knobs.slices, names, self.seed))
        return tuple(stages)

    def difference(self) -> LinearOperator:
        assert self.knobs.against is not None, "asked for"
        return self.compared

    @cached_property
    def compared(self) -> LinearOperator:
        return self.looked.A - self.looked.operator(str(self.knobs.against))

    # --- the scan ---

    @property
    def steps(self) -> int:
        """The most there can be."""
        knobs = self.knobs
        return 3 * knobs.products + (knobs.probes + 1) * knobs.depth + 2 * len(self.layers) * knobs.products + 1000

    @property
    def checks(self) -> int:
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
        f, found = self.looked.function, state["found"]
        if k == 0:
            return check_gradient(f, f.start, found["point"]["gradient"], k)
        if "edges" not in found or int(state["stage"]) < len(self.stages):
            return []
        pairs = unpacked(found["edges"]["pairs"])
        if not bool(pairs.values.isfinite().all()) or not len(pairs.values):
            return []
        A = self.looked.A
        dtype = f.start.dtype
        rows = [evidence.symmetry(A, dtype, self.seed, k), evidence.orthonormal(pairs, k)]
        rows.append(evidence.residual(A, pairs, dtype, k))
        if self.looked.kind == "hessian":
            for i in sorted({0, len(pairs.values) - 1}):
                at = (pairs.values[i], pairs.vectors[:, i], pairs.residuals[i])
                rows.append(evidence.along(f, *at, self.names[i] if i < len(self.names) else "λ", k))
        trace = mean_of(found["trace"]["trace"]) if "trace" in found else None
        if self.looked.n <= TRUTH:
            rows += evidence.truth(A, pairs, dtype, trace, k)
        if trace is not None and trace.samples == 0 and "bulk" in found:
            sampled = mean_of(found["bulk"]["trace"])
            method = "the exact diagonal against random vectors"
            rows.append(evidence.of_trace(method, float(trace.value), sampled, k))
        return rows

    def answer(self, state: State) -> Answer:
        return answer(self.looked, self.knobs, self.stages, state, self.layers)

    def notes(self) -> Sequence[str]:
        top, bottom = self.ends
        parts = [f"the {top} largest and {bottom} smallest eigenvalues to {self.knobs.tol:g}"]
        if self.knobs.trace_tol is not None:
            parts.append(f"the trace to {self.knobs.trace_tol:g}")
        if self.knobs.probes:
            parts.append("the density")
        n = self.looked.n
        notes = [f"{n:,} variable{'s' * (n != 1)}: by products with the {self.looked.title}, {', '.join(parts)}"]
        network, dtype = self.looked.network, self.looked.function.start.dtype
        if network is not None and dtype == torch.float64 and convolves(network):
            notes.append("convolutions are slow in float64: dtype=float32 is quicker, and sums stay in float64")
        return notes

    @cached_property
    def names(self) -> tuple[str, ...]:
        top, bottom = self.ends
        return (*(f"top.{i + 1}" for i in range(top)), *(f"bottom.{i + 1}" for i in range(bottom)))

    def labels(self) -> Labels:
        labels: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys(
            ("ritz_values", "residuals", "eigenvalues"), (self.names,)
        )
        if self.knobs.diagonal:
            labels["diagonal"] = (self.looked.function.variables,)
        if self.knobs.probes:
            labels["spectrum"] = (words.count(BINS), ("from", "to", "how many"))
            labels["density"] = (words.count(GRID), ("eigenvalue", "density", "error"))
        labels |= {name: (self.layers,) for name in COLUMNS if self.layers}
        for stage in self.stages:
            if isinstance(stage, Slices):
                labels |= stage.labels()
        return labels

    def pictures(self) -> Sequence[Picture]:
        found: list[Picture] = []
        if self.knobs.probes:
            found.append(senses.picture(self.looked.classes))
        found += [Tracks("ritz_values", "ritz_values"), Tracks("residuals", "residuals", "y")]
        if self.layers:
            found += bars(self.looked.kind)
        for stage in self.stages:
            if isinstance(stage, Slices):
                found += stage.pictures()
        return found


MOST_CLASSES = 30  # beyond, outliers are not looked for unless asked
