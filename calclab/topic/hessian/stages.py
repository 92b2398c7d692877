"""The scan without the matrix, in stages: each is a scan of its own over products A v, and leaves what it found. The
first looks at the point, the second finds eigenvalues at both ends.

``found`` is a state of states: what the stages before have left, by their names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Extremes, Mean, Pairs
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.spectrum import counted

BLOCK = 8  # probes side by side, at least
ROUNDINGS = 16.0  # of a product, relative to the largest |λ|: what its own type may lose


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

    def tells(self, state: State) -> bool:
        """Whether what it would leave is of use before it is done: to a scan that is interrupted."""
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


def block(A: LinearOperator) -> int:
    """How many probes go side by side: as many as share a pass."""
    return max(BLOCK, A.lanes)


def packed_mean(mean: Mean) -> State:
    """A mean as a state."""
    return {name: torch.tensor(entry) if isinstance(entry, int) else entry for name, entry in vars(mean).items()}


def unpacked_mean(state: State) -> Mean:
    return Mean(**{**state, "samples": int(state["samples"])})


@dataclass(frozen=True)
class Point:
    """f and ∇f where it is looked."""

    problem: CurvatureProblem
    name: str = "point"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        value, g = self.problem.value_and_gradient()
        return {**state, "value": value, "gradient": g, "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        return {"value": state["value"], "gradient_norm": state["gradient"].norm()}

    def finish(self, state: State, found: State) -> State:
        return {"value": state["value"], "gradient": state["gradient"]}

    def tells(self, state: State) -> bool:
        return False


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
            at, last = ritz.ends(top, bottom), self.search.top + bottom
            value, off = ritz.values[at], ritz.residuals[at]
            λ[:top], λ[self.search.top : last] = value[:top], value[top:]
            r[:top], r[self.search.top : last] = off[:top], off[top:]
            worst = off.max() / ritz.scale if bool(ritz.scale > 0) else torch.zeros_like(worst)
        values = {"residual": worst, "ritz_values": λ, "residuals": r}
        if bool(state["done"]):
            values["eigenvalues"] = λ
            if self.classes:
                values["outliers"] = counted(λ[: self.search.top], self.classes)
        return values

    def pairs(self, state: State) -> Pairs:
        """Those wanted; of a search that ended with too small a basis for all of them, each pair once."""
        m, top, bottom = len(state["table"]), self.search.top, self.search.bottom
        if bool(state["settled"]) or m >= top + bottom:
            return self.search.pairs(state)
        bottom = min(bottom, max(m - top, m // 2))
        return self.search.collect(state, min(top, m - bottom), bottom)

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
            "pairs": packed(self.honest(self.pairs(state))),
            "every": packed(self.honest(self.search.subspace(state))),
            "settled": state["settled"],
            "least": self.least(state),
            "products": state["products"],
        }

    def tells(self, state: State) -> bool:
        return len(state["table"]) > 0
