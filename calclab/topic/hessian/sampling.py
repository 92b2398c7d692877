"""The stages that sample the whole spectrum by random vectors: the density of all eigenvalues, the trace (exactly where
the rows' gradients give it), and the distance to another operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Density, Mean, Pairs, Probes
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.spectrum import Bounds, bins, bounds
from calclab.topic.hessian.stages import block, packed_mean, settled, unpacked

GRID = 256  # points of the density
PLENTY = 36  # from so many on it is worth while to try the other way
CLEARLY = 3.0  # how much cheaper it must be: the pilot's spread is itself a guess
FIRST, TRIAL, OTHER, BACK = range(4)  # plain probes; a pilot under control; on with control; on without


@dataclass(frozen=True)
class Bulk:
    """The density of all eigenvalues: ``depth`` products with each of ``count`` random vectors."""

    A: LinearOperator
    count: int
    depth: int
    seed: int
    positive: bool = False  # no eigenvalue is negative
    name: str = "bulk"

    @cached_property
    def settled(self) -> Callable[[Pairs], Pairs]:
        """``stages.settled``, once for all steps: its vectors are as large as the variables are many. Pairs are those
        of before if their tensors are the same objects."""
        kept = lru_cache(maxsize=1)(lambda *parts: settled(Pairs(*parts)))
        return lambda pairs: kept(*vars(pairs).values())

    def probes(self, found: State) -> Probes:
        known = self.settled(unpacked(found["edges"]["pairs"]))
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
        return {**kept, "trace": packed_mean(probes.trace(state)), "square": packed_mean(probes.square(state))}

    def tells(self, state: State) -> bool:
        return False

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
        residuals = self.settled(unpacked(found["edges"]["pairs"])).residuals
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
class Exact:
    """tr A and diag A from the gradients of the rows: no product is spent."""

    problem: CurvatureProblem
    diagonal: bool
    name: str = "trace"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        return {**state, "diagonal": self.problem.exact_diagonal(), "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        values = {"trace": state["diagonal"].sum()}
        return {**values, "diagonal": state["diagonal"]} if self.diagonal else values

    def finish(self, state: State, found: State) -> State:
        left = {"trace": packed_mean(certain(state["diagonal"].sum())), "products": state["products"]}
        return {**left, "diagonal": packed_mean(certain(state["diagonal"]))} if self.diagonal else left

    def tells(self, state: State) -> bool:
        return False


def half_size(every: Pairs, size: float = 0.0) -> float:
    """Σ|λ|/2: what a trace is held against when it is nearer to zero than that, since eigenvalues of both signs cancel.

    ``size`` is an estimate of Σ|λ|; of Ritz values alone it is no more than the true one.
    """
    return max(size, float(every.values.abs().nan_to_num().sum())) / 2


def certain(value: Tensor) -> Mean:
    none = torch.zeros_like(value)
    return Mean(value, none, none, 0)


@dataclass(frozen=True)
class Trace:
    """tr A, ‖A‖_F and perhaps diag A from random vectors, beside what the edges have found.

    Where many would be needed, the Gauss-Newton matrix is tried as a control variate: tr A = tr G + tr (A - G), G with
    its exact trace. Each probe then takes two products.
    """

    problem: CurvatureProblem
    tol: float
    most: int
    diagonal: bool
    seed: int
    name: str = "trace"

    def probes(self, found: State, controlled: bool = False) -> Probes:
        """Those beside the eigenvectors found, or ``controlled``."""
        A, every = self.problem.A, unpacked(found["edges"]["every"])
        least = float(found["bulk"]["size"]) if "bulk" in found else 0.0
        plain = Probes(
            A, tol=self.tol, most=max(2, self.most), block=block(A), diagonal=self.diagonal, seed=self.seed,
            least=half_size(every, least), deflate=every,
        )  # fmt: skip
        if not controlled:
            return plain
        most = max(2, self.most // 2)
        return replace(plain, deflate=None, control=self.problem.control, most=most, seed=self.seed + 3)

    def begin(self, found: State) -> State:
        plain = dict(self.probes(found).init())
        return {"way": torch.tensor(FIRST), "plain": plain, "other": {}, **self.books(plain, {})}

    def books(self, plain: State, other: State) -> State:
        spent = plain["products"] + (other["products"] if other else 0)
        return {"products": spent, "done": torch.tensor(False)}

    def step(self, state: State, found: State) -> State:
        way, plain, other = int(state["way"]), state["plain"], state["other"]
        if way in (FIRST, BACK):
            plain = dict(self.probes(found).step(plain))
            finished = bool(plain["done"])
            settled = int(plain["k"]) == 0 and int(plain["drawn"]) == self.probes(found).probes
            many = way == FIRST and not finished and settled and int(plain["needed"]) > PLENTY
            if many and self.problem.control is not None:
                way, other = TRIAL, dict(self.probes(found, True).init())
        else:
            other = dict(self.probes(found, True).step(other))
            finished = bool(other["done"])
            if way == TRIAL and (finished or int(other["drawn"]) == self.probes(found).probes):
                errors = self.probes(found).trace(plain).error, self.probes(found, True).trace(other).error
                better = bool(2 * CLEARLY * errors[1] ** 2 < errors[0] ** 2)
                way, finished = (OTHER, finished) if better else (BACK, bool(plain["done"]))
        done = torch.tensor(finished)
        return {"way": torch.tensor(way), "plain": plain, "other": other, **self.books(plain, other), "done": done}

    def best(self, state: State, found: State) -> tuple[Probes, State]:
        """The probes that tell the trace, and where they are."""
        if int(state["way"]) == OTHER:
            return self.probes(found, True), state["other"]
        return self.probes(found), state["plain"]

    def values(self, state: State, found: State) -> Values:
        probes, own = self.best(state, found)
        mean = probes.trace(own)
        values = {"trace": mean.value, "trace_error": mean.error}
        if bool(state["done"]) and self.diagonal:
            values["diagonal"] = probes.estimate_diagonal(own).value
        return values

    def finish(self, state: State, found: State) -> State:
        probes, own = self.best(state, found)
        left = {"trace": packed_mean(probes.trace(own)), "products": state["products"], "way": state["way"]}
        left["least"] = torch.tensor(self.probes(found).least, dtype=torch.float64)
        left["square"] = packed_mean(self.probes(found).square(state["plain"]))
        if self.diagonal:
            left["diagonal"] = packed_mean(probes.estimate_diagonal(own))
        return left

    def tells(self, state: State) -> bool:
        own = state["other"] if int(state["way"]) == OTHER else state["plain"]
        return len(own["trace"]) > 1


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
        return {"square": packed_mean(self.probes(found).square(state)), "products": state["products"]}

    def tells(self, state: State) -> bool:
        return len(state["square"]) > 1
