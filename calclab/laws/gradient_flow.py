"""One step of gradient descent against the flows of the loss and of the modified loss, at smaller and smaller rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Evidence, Function, Rule, State, Values, Verdict
from calclab.laws.base import Plain, slope
from calclab.numerics.gradient_flow import gradient_and_product, step_gap
from calclab.subject.network import Network

ORDER = 0.05  # how far a fitted order may be from a whole number


@dataclass(frozen=True, kw_only=True)
class ImplicitRegularisation(schema.law.ImplicitRegularisation, Plain):
    """k runs over rates lr = largest / L 2^-k, with L = ‖Hg‖/‖g‖ at the start, the curvature along the gradient:
    ``flow_gap`` and ``modified_gap`` are the distances of the step from the two flows (`numerics.gradient_flow`)."""

    subject: Function | Network
    rule: Rule | None = None
    seed: int = 0

    quantities = ("flow_gap", "modified_gap")
    axis = "lr"
    log = "xy"

    @property
    def steps(self) -> int:
        return self.halvings

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def first(self) -> float:
        g, Hg = gradient_and_product(self.function.call, self.function.start)
        curved = float(Hg.norm() / g.norm()) if bool(g.norm() > 0) else 0.0
        return self.largest / curved if curved else self.largest

    def step(self, state: State, k: int) -> tuple[State, Values]:
        lr = self.first * 0.5**k
        gap = step_gap(self.function.call, self.function.start, lr)
        return state, {
            "lr": torch.tensor(lr, dtype=torch.float64),
            "flow_gap": gap.flow,
            "flow_gap_theory": gap.flow_theory,
            "modified_gap": gap.modified,
            "modified_gap_theory": gap.modified_theory,
        }

    def evidence(self, seen: Mapping[str, Tensor], k: int) -> list[Evidence]:
        """At the last rate: the orders fitted against 2 and 3. Theory has leading terms, exact in the limit."""
        if k < self.steps:
            return []
        found = self.findings(seen)
        rows = []
        for q, order in zip(self.quantities, (2.0, 3.0), strict=True):
            fitted = float(found[f"slope_{q}"])
            gap = abs(fitted - order)
            verdict = Verdict.CONSISTENT if gap <= ORDER else Verdict.INCONCLUSIVE
            note = "" if gap <= ORDER else "rates are too large, or gaps are lost in rounding: type law.largest=..."
            rows.append(
                Evidence(k, f"slope_{q}", "order by Taylor", fitted, order, gap, math.inf, ORDER, verdict, note)
            )
        return rows

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """The orders 2 and 3, fitted over the smaller half of the rates, and the last ratios to the leading terms."""
        half = slice(len(seen["lr"]) // 2, None)
        found: dict[str, Tensor | str] = {}
        for q in self.quantities:
            found[f"slope_{q}"] = slope(seen["lr"][half], seen[q][half])
            found[f"ratio_{q}"] = seen[q][-1] / seen[f"{q}_theory"][-1]
        return found
