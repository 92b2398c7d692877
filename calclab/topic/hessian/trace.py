"""The trace: exactly, where the rows' gradients give it, else by sampling, in whichever of two ways is quicker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Mean, Pairs, Probes
from calclab.topic.hessian.looked import Looked
from calclab.topic.hessian.stages import block, told, unpacked

PLENTY = 36  # from so many on it is worth while to try the other way
CLEARLY = 3.0  # how much cheaper it must be: the pilot's spread is itself a guess
FIRST, TRIAL, OTHER, BACK = range(4)  # plain probes; a pilot under control; on with control; on without


@dataclass(frozen=True)
class Exact:
    """tr A and diag A from the gradients of the rows: no product is spent."""

    looked: Looked
    diagonal: bool
    name: str = "trace"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        return {**state, "diagonal": self.looked.exact_diagonal(), "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        values = {"trace": state["diagonal"].sum()}
        return {**values, "diagonal": state["diagonal"]} if self.diagonal else values

    def finish(self, state: State, found: State) -> State:
        left = {"trace": told(certain(state["diagonal"].sum())), "products": state["products"]}
        return {**left, "diagonal": told(certain(state["diagonal"]))} if self.diagonal else left


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

    looked: Looked
    tol: float
    most: int
    diagonal: bool
    seed: int
    name: str = "trace"

    def probes(self, found: State, controlled: bool = False) -> Probes:
        """Those beside the eigenvectors found, or ``controlled``."""
        A, every = self.looked.A, unpacked(found["edges"]["every"])
        least = float(found["bulk"]["size"]) if "bulk" in found else 0.0
        plain = Probes(
            A, tol=self.tol, most=max(2, self.most), block=block(A), diagonal=self.diagonal, seed=self.seed,
            least=half_size(every, least), deflate=every,
        )  # fmt: skip
        if not controlled:
            return plain
        most = max(2, self.most // 2)
        return replace(plain, deflate=None, control=self.looked.control, most=most, seed=self.seed + 3)

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
            if many and self.looked.control is not None:
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
        left = {"trace": told(probes.trace(own)), "products": state["products"], "way": state["way"]}
        left["least"] = torch.tensor(self.probes(found).least, dtype=torch.float64)
        left["square"] = told(self.probes(found).square(state["plain"]))
        if self.diagonal:
            left["diagonal"] = told(probes.estimate_diagonal(own))
        return left
