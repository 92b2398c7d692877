"""Double descent: the risk of minimum-norm least squares against the number of features for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Function, Rule, State, Values
from calclab.errors import UserError
from calclab.laws.base import Plain, mean_and_error
from calclab.numerics.least_squares import expected_risk, given_rows


@dataclass(frozen=True, kw_only=True)
class DoubleDescent(schema.law.DoubleDescent, Plain):
    """k runs over ``ratios`` p/n. At each, ``draws`` sets of rows are drawn; ``risk`` is the mean of their risk given
    the rows, beside its expectation at this n and p (`numerics.least_squares`), and ``limit`` the subject: the curve
    that is claimed for n → ∞, a formula of one variable."""

    subject: Function
    rule: Rule | None = None
    seed: int = 0

    quantities = ("risk",)
    axis = "ratio"
    log = "xy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.subject, Function) or len(self.subject.start) != 1 or not self.subject.scalar:
            raise UserError("law=double_descent is held against a curve in the ratio: type function.expr='g/(1 - g)'")
        for ratio in self.ratios:
            if not isinstance(ratio, int | float) or isinstance(ratio, bool) or ratio * self.rows < 1:
                raise UserError(f"law.ratios={self.ratios}: numbers of features for each row, at least 1/law.rows")

    @property
    def steps(self) -> int:
        return len(self.ratios) - 1

    def step(self, state: State, k: int) -> tuple[State, Values]:
        n, p = self.rows, round(float(self.ratios[k]) * self.rows)
        maker = torch.Generator().manual_seed(self.seed * 1000 + k)
        X = torch.randn(self.draws, n, p, generator=maker, dtype=torch.float64)
        bias, variance = given_rows(X, signal=self.signal, noise=self.noise)
        risk, error = mean_and_error(bias + variance)
        theory = torch.tensor(expected_risk(n, p, signal=self.signal, noise=self.noise), dtype=torch.float64)
        ratio = self.subject.start.new_tensor([p / n])
        limit = self.subject.call(ratio)
        return state, {
            "ratio": ratio[0],
            "risk": risk,
            "risk_theory": theory,
            "risk_error": error,
            "limit": limit,
            "bias": bias.mean(),
            "variance": variance.mean(),
        }

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """Where the peak is, and how far the limit's curve is from this n's, relative to it times n: O(1)."""
        finite = seen["risk_theory"].isfinite() & seen["limit"].isfinite()
        away = ((seen["limit"] - seen["risk"]).abs() / seen["risk"])[finite]
        z = ((seen["limit"] - seen["risk"]).abs() / seen["risk_error"])[finite]
        return {
            "peak": seen["ratio"][seen["risk"].argmax()],
            "largest_gap_limit": away.max() if len(away) else seen["risk"].new_tensor(torch.nan),
            "largest_z_limit": z.max() if len(z) else seen["risk"].new_tensor(torch.nan),
        }
