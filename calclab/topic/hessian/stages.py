"""The scan without the matrix, in stages: each is a scan of its own over products A v, and leaves what it found.

``found`` is a state of states: what the stages before have left, by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Density, Extremes, Mean, Pairs, Probes
from calclab.numerics.lanes import measure_lanes
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.looked import Looked
from calclab.topic.hessian.senses import bins, counted

BLOCK = 8  # probes side by side
ROUNDINGS = 16.0  # of a product, relative to the largest |λ|: what its own type may lose
GRID = 256  # points of the density


class Stage(Protocol):
    """``state`` holds "done" and "products", what it has spent; `step` is about one product."""

    @property
    def name(self) -> str: ...

    def begin(self, found: State) -> State: ...

    def step(self, state: State, found: State) -> State: ...

    def values(self, state: State, found: State) -> Values:
        """What is logged after a step."""
        ...

    def finish(self, state: State, found: State) -> State:
        """What it leaves."""
        ...


def packed(pairs: Pairs) -> State:
    """Pairs as a state."""
    return {name: torch.tensor(entry) if isinstance(entry, int) else entry for name, entry in vars(pairs).items()}


def unpacked(state: State) -> Pairs:
    return Pairs(**{**state, "top": int(state["top"])})


def settled(pairs: Pairs) -> Pairs:
    """Those of the pairs that have converged: what a density may take for eigenpairs."""
    at = pairs.converged.nonzero()[:, 0]
    parts = {name: getattr(pairs, name)[at] for name in ("values", "residuals", "estimates", "converged")}
    return replace(
        pairs, **parts, vectors=pairs.vectors[:, at.to(pairs.vectors.device)], top=int((at < pairs.top).sum())
    )


def told(mean: Mean) -> State:
    return {name: torch.tensor(entry) if isinstance(entry, int) else entry for name, entry in vars(mean).items()}


@dataclass(frozen=True)
class Point:
    """f and ∇f where it is looked."""

    looked: Looked
    name: str = "point"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        value, g = self.looked.value_and_gradient()
        return {**state, "value": value, "gradient": g, "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        return {"value": state["value"], "gradient_norm": state["gradient"].norm()}

    def finish(self, state: State, found: State) -> State:
        return {"value": state["value"], "gradient": state["gradient"]}


@dataclass(frozen=True)
class Edges:
    """The largest and the smallest eigenvalues, until their residuals are small or ``most`` products are spent."""

    search: Extremes
    most: int
    classes: int
    rounding: float = 0.0  # eps of the type that products are computed in
    name: str = "edges"

    def begin(self, found: State) -> State:
        return dict(self.search.init())

    def step(self, state: State, found: State) -> State:
        new = dict(self.search.step(state))
        return new if int(new["products"]) < self.most else {**new, "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        width, table = self.search.top + self.search.bottom, state["table"]
        λ = table.new_full((width,), torch.nan)
        r, worst = λ.clone(), table.new_full((), torch.nan)
        if len(table) and bool(table.isfinite().all()):
            ritz = self.search.ritz(state)
            m = len(ritz.values)
            top, bottom = min(self.search.top, m), min(self.search.bottom, m)
            at = ritz.ends(top, bottom)
            place = torch.cat([torch.arange(top), self.search.top + torch.arange(bottom)])
            λ[place], r[place] = ritz.values[at], ritz.residuals[at]
            worst = ritz.residuals[at].max() / ritz.scale if bool(ritz.scale > 0) else torch.zeros_like(worst)
        values = {"residual": worst, "ritz_values": λ, "residuals": r}
        if bool(state["done"]):
            values["eigenvalues"] = λ
            if self.classes:
                values["outliers"] = counted(λ[: self.search.top], self.classes)
        return values

    def honest(self, pairs: Pairs) -> Pairs:
        """With what the products round, where they are computed in a smaller type than they are added in."""
        if self.rounding <= torch.finfo(self.search.A.dtype).eps or not len(pairs.values):
            return pairs
        noise = ROUNDINGS * self.rounding * pairs.values.abs().max()
        return replace(pairs, residuals=pairs.residuals + noise, estimates=pairs.estimates + noise)

    def least(self, state: State) -> Tensor:
        """min ‖A v‖ () over unit vectors of the basis: the smallest |λ| is no larger."""
        whole = torch.cat([state["table"], state["coupling"]])
        if not len(state["table"]) or not bool(whole.isfinite().all()):
            return whole.new_full((), torch.nan)
        noise = 16 * torch.finfo(self.search.A.dtype).eps * len(whole) * torch.linalg.matrix_norm(whole, 2)
        return torch.linalg.svdvals(whole)[-1] + noise

    def finish(self, state: State, found: State) -> State:
        return {
            "pairs": packed(self.honest(self.search.pairs(state))),
            "every": packed(self.honest(self.search.subspace(state))),
            "settled": state["settled"],
            "least": self.least(state),
            "products": state["products"],
        }


@dataclass(frozen=True)
class Lanes:
    """How many columns share a pass in the stages that follow: as asked, or measured once and kept with the state."""

    A: LinearOperator
    asked: int | None
    name: str = "lanes"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        before = self.A.products
        lanes = measure_lanes(self.A, most=BLOCK) if self.asked is None else self.asked
        spent = torch.tensor(self.A.products - before)
        return {"lanes": torch.tensor(lanes), "products": spent, "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        return {"lanes": state["lanes"].double()}

    def finish(self, state: State, found: State) -> State:
        return {"lanes": state["lanes"], "products": state["products"]}


def laned(A: LinearOperator, found: State) -> LinearOperator:
    """A with the columns in a pass that were settled on."""
    return A.with_lanes(int(found["lanes"]["lanes"])) if "lanes" in found else A


@dataclass(frozen=True)
class Bulk:
    """The density of all eigenvalues: ``depth`` products with each of ``count`` random vectors."""

    A: LinearOperator
    count: int
    depth: int
    seed: int
    name: str = "bulk"

    def probes(self, found: State) -> Probes:
        known = settled(unpacked(found["edges"]["pairs"]))
        A = laned(self.A, found)
        return Probes(A, probes=self.count, depth=self.depth, deflate=known, block=self.count, seed=self.seed + 1)

    def begin(self, found: State) -> State:
        return dict(self.probes(found).init())

    def step(self, state: State, found: State) -> State:
        return dict(self.probes(found).step(state))

    def values(self, state: State, found: State) -> Values:
        if not bool(state["done"]):
            return {"depth": state["k"].double()}
        density = self.probes(found).density(state)
        return {"depth": torch.tensor(float(self.depth), dtype=torch.float64), **drawn(density)}

    def finish(self, state: State, found: State) -> State:
        probes = self.probes(found)
        kept = {name: state[name] for name in ("nodes", "weights", "drawn", "products")}
        kept["least"] = self.least(state, found)
        return {**kept, "trace": told(probes.trace(state)), "square": told(probes.square(state))}

    def least(self, state: State, found: State) -> Tensor:
        """min ‖A v‖ () over unit vectors that the probes have made, where these are orthonormal; else infinite.

        Of a tridiagonal with k columns k + 1 rows are known. What A v has along the eigenvectors taken out is no more
        than their residuals.
        """
        probes, α, β = self.probes(found), state["alpha"], state["beta"]
        if not probes.keeps or len(α) < 2 or not bool(α.isfinite().all()):
            return torch.tensor(torch.inf, dtype=torch.float64)
        T = torch.diag_embed(α.T) + torch.diag_embed(β[:-1].T, 1) + torch.diag_embed(β[:-1].T, -1)
        smallest = torch.linalg.svdvals(T[:, :, :-1])[:, -1].min().to("cpu", torch.float64)
        residuals = settled(unpacked(found["edges"]["pairs"])).residuals
        noise = 16 * torch.finfo(self.A.dtype).eps * len(α) * T.abs().max().to("cpu", torch.float64)
        return (smallest**2 + residuals.square().sum()).sqrt() + noise

    def density(self, found: State) -> Density:
        """What the stage has found."""
        return self.probes(found).density({**found["bulk"], "trace": found["bulk"]["trace"]["value"]})


def drawn(density: Density) -> dict[str, Tensor]:
    """What is logged of a density: how many eigenvalues lie where, and the density itself on a grid."""
    nodes, weights = density.flat()
    inside, share = density.nodes.reshape(-1), density.n * density.share / max(1, len(density.nodes))
    used = weights > 0
    low, high = nodes[used].min(), nodes[used].max()
    margin = 3 * torch.maximum(density.resolution, (high - low) / GRID)
    steps = torch.linspace(0, 1, GRID, dtype=torch.float64)
    grid = low - margin + (high - low + 2 * margin) * steps
    curve = density.on(grid)
    table = torch.stack([grid, curve.value, curve.error], 1)
    spectrum = bins(density.known, inside, density.weights.reshape(-1) * share, float(density.resolution))
    return {"spectrum": spectrum, "density": table}


@dataclass(frozen=True)
class Against:
    """‖A - B‖_F of another operator B, from ``count`` random vectors."""

    difference: Callable[[], LinearOperator]
    count: int
    seed: int
    name: str = "against"

    def probes(self, found: State) -> Probes:
        return Probes(laned(self.difference(), found), probes=self.count, seed=self.seed + 2)

    def begin(self, found: State) -> State:
        return dict(self.probes(found).init())

    def step(self, state: State, found: State) -> State:
        new = dict(self.probes(found).step(state))
        return {**new, "products": 2 * new["drawn"]}  # each with both

    def values(self, state: State, found: State) -> Values:
        return {}

    def finish(self, state: State, found: State) -> State:
        return {"square": told(self.probes(found).square(state)), "products": state["products"]}
