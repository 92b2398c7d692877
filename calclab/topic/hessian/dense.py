"""With the matrix: all eigenvalues at one look, proven where the function is a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Answer, Evidence, Labels, Picture, State, Values
from calclab.numerics.krylov import Pairs
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.spectrum import eigen, eigenvalues_of, symmetric
from calclab.schema.topic import Hessian as Knobs
from calclab.topic.base import OneLook
from calclab.topic.hessian.answer import answer_with_matrix
from calclab.topic.hessian.evidence import check_matrix
from calclab.topic.hessian.layers import COLUMNS, columns
from calclab.topic.hessian.pictures import labels_with_matrix, pictures_with_matrix
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.slices import Slices, directions
from calclab.topic.hessian.spectrum import bins, counted
from calclab.topic.hessian.stages import packed


@dataclass(frozen=True)
class Dense(OneLook):
    """A = V diag(λ) Vᵀ, (n, n), with λ ascending; κ = max|λ| / min|λ|."""

    problem: CurvatureProblem
    knobs: Knobs
    layers: tuple[str, ...]
    seed: int

    @cached_property
    def slices(self) -> Slices | None:
        """Cuts through the loss of a network."""
        if not self.knobs.slices or self.problem.network is None:
            return None
        n = self.problem.n
        names = directions(n, min(2, n), min(1, max(0, n - 2)))
        return Slices(self.problem, self.knobs.slices, names, self.seed)

    @property
    def spectrum(self) -> bool:
        """Whether it is logged how many eigenvalues lie where."""
        return self.knobs.probes > 0 and self.problem.network is not None

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f = self.problem.function
        value, g = value_and_gradient(f.call, f.start)
        raw = dense_hessian(f.call, f.start) if self.problem.kind == "hessian" else self.problem.A.dense()
        H = symmetric(raw)
        λ, V = eigen(H)
        new: State = {"value": value, "gradient": g, "raw": raw, "hessian": H, "eigenvalues": λ, "eigenvectors": V}
        values = {"value": value, "gradient_norm": g.norm(), "asymmetry": (raw - raw.T).abs().max(), "eigenvalues": λ}
        if self.problem.written:
            values["hessian"] = H
        if self.problem.drawn:
            values |= {"gradient": g, "eigenvectors": V}
        return self.network_step(new, values) if self.problem.network is not None else (new, values)

    # --- what only a network has ---

    def network_step(self, new: State, values: dict[str, Tensor]) -> tuple[State, Values]:
        """With how its eigenvalues lie, outliers, layers, cuts through its loss, and the distance to another matrix."""
        λ, H, n, classes = new["eigenvalues"], new["hessian"], self.problem.n, self.problem.classes
        if self.knobs.probes:
            values["spectrum"] = bins(λ, λ[:0], λ[:0], n * float(torch.finfo(λ.dtype).eps * λ.abs().max()))
        if classes:
            values["outliers"] = counted(λ.flip(0), classes)
        if self.layers:
            values |= columns(self.by_layer(H))
        if self.slices is not None:
            values |= self.cut(self.slices, new)
        new = {**new, "own": {name: values[name] for name in COLUMNS if name in values}}
        if self.knobs.against is not None:
            new["against"] = (symmetric(self.problem.operator(self.knobs.against).dense()) - H).norm()
        return new, values

    def by_layer(self, H: Tensor) -> Tensor:
        """Extreme eigenvalues and trace of each layer's block, (L, 4); they have no sampling error."""
        rows = []
        for layer in self.layers:
            at = self.problem.places(layer)
            block = H[at][:, at]
            λ = eigenvalues_of(block)
            rows.append(torch.stack([λ[-1], λ[0], block.trace(), torch.zeros_like(λ[0])]))
        return torch.stack(rows)

    def cut(self, slices: Slices, state: State) -> Values:
        λ, V, n = state["eigenvalues"], state["eigenvectors"], self.problem.n
        top = min(2, n)
        at = [*range(n - 1, n - 1 - top, -1), *range(min(1, n - top))]
        none = torch.zeros_like(λ[at])
        infinite = none.new_full((), torch.inf)
        pairs = Pairs(λ[at], V[:, at], none, none, none == 0, torch.tensor(0), top, infinite, -infinite)
        found = {"edges": {"pairs": packed(pairs)}, "point": {name: state[name] for name in ("value", "gradient")}}
        own = slices.begin(found)
        while len(own["loss"]) < len(slices.names) or (slices.flat and len(own["surface"]) < slices.points):
            own = slices.step(own, found)
        return slices.values(own, found)

    # --- what it says ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        return check_matrix(self.problem, state, k)

    def answer(self, state: State) -> Answer:
        return answer_with_matrix(self.problem, self.knobs, state)

    def labels(self) -> Labels:
        labels = labels_with_matrix(self.problem, spectrum=self.spectrum, layers=self.layers)
        return labels if self.slices is None else {**labels, **self.slices.labels()}

    def pictures(self) -> Sequence[Picture]:
        spectrum, layers = self.spectrum, bool(self.layers)
        return pictures_with_matrix(self.problem, spectrum=spectrum, layers=layers, slices=self.slices)
