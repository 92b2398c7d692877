"""The stage that finds eigenvalues at both ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calclab.core import State, Values
from calclab.numerics.krylov import Extremes, Pairs
from calclab.topic.hessian.senses import counted
from calclab.topic.hessian.stages import packed

ROUNDINGS = 16.0  # of a product, relative to the largest |λ|: what its own type may lose


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
