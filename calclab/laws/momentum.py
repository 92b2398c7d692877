"""The rate of a rule with momentum on a quadratic, over rates and momenta, against the roots of companion matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Function, Picture, Rates, State, Values
from calclab.errors import UserError
from calclab.laws.base import Plain
from calclab.numerics.operators import hessian_where_known
from calclab.numerics.spectrum import eigen, symmetric
from calclab.optimizer.rates import REGIONS, RateMap, at_each, measured, region


@dataclass(frozen=True, kw_only=True)
class MomentumRate(schema.law.MomentumRate, Plain):
    """k runs over momenta, evenly from 0 to ``momentum``; at each, walks at ``count`` rates up to ``reach``/L, L the
    largest eigenvalue. ``contraction`` (count,) is what the rule's own walks shrink by a step in the long run, beside
    the largest root of the companion matrices of all directions (`optimizer.rates`)."""

    subject: Function
    rule: Any = None
    seed: int = 0

    quantities = ("contraction",)
    vectors = quantities
    axis = "momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        exact = self.subject.exact if isinstance(self.subject, Function) else None
        if exact is None or exact.degree != 2 or not bool(self.spectrum[0] > 0):
            raise UserError("law=momentum_rate is about a convex quadratic. Type for example function=rotated_ellipse")
        if not hasattr(self.rule, "momentum") or not hasattr(self.rule, "theory"):
            raise UserError("law=momentum_rate is about a rule with momentum. Type optimizer=momentum, or nesterov")

    @property
    def steps(self) -> int:
        return self.count - 1

    @cached_property
    def spectrum(self) -> Tensor:
        """Eigenvalues (n,), ascending."""
        f = self.subject
        return eigen(symmetric(hessian_where_known(f.call, f.start)))[0].detach().cpu().double()

    @cached_property
    def grid(self) -> tuple[Tensor, Tensor]:
        """Rates and momenta."""
        lrs = torch.linspace(0, self.reach / float(self.spectrum[-1]), self.count + 1, dtype=torch.float64)[1:]
        return lrs, torch.linspace(0, self.momentum, self.count, dtype=torch.float64)

    def init(self) -> State:
        """All walks, in one batch."""
        lrs, momenta = self.grid
        return {"measured": measured(self.rule, self.spectrum, lrs, momenta, self.walk)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        lrs, momenta = self.grid
        least, largest = float(self.spectrum[0]), float(self.spectrum[-1])
        theory = at_each(self.rule, momenta[k : k + 1])[0].theory(least, largest)
        ends = [theory.ends(float(lr)) for lr in lrs]
        regions = torch.tensor([REGIONS.index(region(end)) for end in ends], dtype=torch.float64)
        predicted = torch.tensor([max(e.radius for e in end) for end in ends], dtype=torch.float64)
        return state, {
            "momentum": momenta[k],
            "contraction": state["measured"][k],
            "contraction_theory": predicted,
            "region": regions,
        }

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """The best pair, measured, and how large each region is."""
        lrs, momenta = self.grid
        i, j = divmod(int(seen["contraction"].argmin()), len(lrs))
        counted = Counter(REGIONS[int(r)] for r in seen["region"].flatten())
        wrong = (seen["contraction"] > 1 + 1e-9) != (seen["contraction_theory"] > 1 + 1e-9)
        stable = (seen["contraction_theory"] - 1).abs() > 1e-3  # away from the border itself
        return {
            "best_lr": lrs[j],
            "best_momentum": momenta[i],
            "pairs": torch.tensor(float(seen["contraction"].numel())),
            "misjudged_stability": (wrong & stable).sum().double(),
            **{f"region_{name}": torch.tensor(float(counted[name])) for name in REGIONS},
        }

    def pictures(self) -> Sequence[Picture]:
        return (
            Rates("momentum_map", self.map, (float(getattr(self.rule, "lr", torch.nan)), float(self.rule.momentum))),
        )

    def map(self) -> RateMap:
        """Measured and predicted over the grid."""
        lrs, momenta = self.grid
        found = self.init()["measured"]
        told = torch.stack([self.step({"measured": found}, k)[1]["contraction_theory"] for k in range(self.count)])
        i, j = divmod(int(told.argmin()), self.count)
        return RateMap(lrs, momenta, found, told, (float(lrs[j]), float(momenta[i])))
