"""The stages that sample: the density of all eigenvalues, and the distance to another operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Density, Probes
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.senses import Bounds, bins, bounds
from calclab.topic.hessian.stages import settled, told, unpacked

GRID = 256  # points of the density


@dataclass(frozen=True)
class Bulk:
    """The density of all eigenvalues: ``depth`` products with each of ``count`` random vectors."""

    A: LinearOperator
    count: int
    depth: int
    seed: int
    positive: bool = False  # no eigenvalue is negative
    name: str = "bulk"

    def probes(self, found: State) -> Probes:
        known = settled(unpacked(found["edges"]["pairs"]))
        return Probes(self.A, probes=self.count, depth=self.depth, deflate=known, block=self.count, seed=self.seed + 1)

    def begin(self, found: State) -> State:
        return dict(self.probes(found).init())

    def step(self, state: State, found: State) -> State:
        return dict(self.probes(found).step(state))

    def values(self, state: State, found: State) -> Values:
        if not bool(state["done"]):
            return {"depth": state["k"].double()}
        density = self.within(self.probes(found).density(state), found)
        return {"depth": torch.tensor(float(self.depth), dtype=torch.float64), **drawn(density)}

    def within(self, density: Density, found: State) -> Density:
        """Held to what the search at both ends has found."""
        pairs, nodes = unpacked(found["edges"]["pairs"]), density.nodes[density.weights > 0]
        return replace(density, **vars(bounds(pairs, nodes, positive=self.positive)))

    def finish(self, state: State, found: State) -> State:
        probes = self.probes(found)
        kept = {name: state[name] for name in ("nodes", "weights", "drawn", "products")}
        kept |= {"least": self.least(state, found), "size": probes.density(state).size().value}
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
    used = nodes[weights > 0]
    used = used if len(used) else nodes.new_full((1,), torch.nan)  # of a matrix that is not finite there are none
    low, high = used.min(), used.max()
    margin = 3 * torch.maximum(density.resolution, (high - low) / GRID)
    low, high = (low - margin).clamp(min=density.least), (high + margin).clamp(max=density.most)
    grid = low + (high - low) * torch.linspace(0, 1, GRID, dtype=torch.float64)
    curve = density.on(grid)
    table = torch.stack([grid, curve.value, curve.error], 1)
    within = Bounds(density.least, density.most, density.low, density.high)
    spectrum = bins(density.known, inside, density.weights.reshape(-1) * share, float(density.resolution), within)
    return {"spectrum": spectrum, "density": table}


@dataclass(frozen=True)
class Against:
    """‖A - B‖_F of another operator B, from ``count`` random vectors."""

    difference: Callable[[], LinearOperator]
    count: int
    seed: int
    name: str = "against"

    def probes(self, found: State) -> Probes:
        return Probes(self.difference(), probes=self.count, seed=self.seed + 2)

    def begin(self, found: State) -> State:
        return dict(self.probes(found).init())

    def step(self, state: State, found: State) -> State:
        new = dict(self.probes(found).step(state))
        return {**new, "products": 2 * new["drawn"]}  # each with both

    def values(self, state: State, found: State) -> Values:
        return {}

    def finish(self, state: State, found: State) -> State:
        return {"square": told(self.probes(found).square(state)), "products": state["products"]}
