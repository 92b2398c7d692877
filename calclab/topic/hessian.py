"""Curvature at a point: the Hessian, its eigenvalues, what they say of the point, and how well conditioned it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import (
    Answer,
    Ball,
    Bars,
    Evidence,
    Function,
    Heatmap,
    Labels,
    Picture,
    State,
    Values,
)
from calclab.errors import UserError
from calclab.function.network import Network
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.spectrum import Condition, condition_of_eigenvalues, inertia
from calclab.numerics.verify import check_eigenvalues, check_gradient, check_hessian, identity
from calclab.topic import words
from calclab.topic.base import OneLook
from calclab.topic.rounding import slack

SHOWN = 64  # larger matrices are not drawn
WRITTEN = 2000  # still larger ones are not written; their eigenvalues always are


@dataclass(frozen=True, kw_only=True)
class Hessian(schema.topic.Hessian, OneLook):
    """H_ij = ∂²f/∂x_i∂x_j at the start, (n, n); H = V diag(λ) Vᵀ with λ ascending; κ = max|λ| / min|λ|.

    For a network f is the mean loss over all rows, as a function of all trainable parameters.
    """

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.n
        if n > self.limit:
            raise UserError(
                f"limit={self.limit}: {self.subject.name} has {n:,} variables, and the matrix would have {n * n:,} "
                f"entries. Type limit={n} to form it all the same, or take a smaller "
                + ("network" if isinstance(self.subject, Network) else "function")
            )

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @property
    def n(self) -> int:
        return len(self.function.start)

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f = self.function
        value, g = value_and_gradient(f.call, f.start)
        raw = dense_hessian(f.call, f.start)
        H = (raw + raw.T) / 2
        λ, V = eigen(H)
        new = {"value": value, "gradient": g, "raw": raw, "hessian": H, "eigenvalues": λ, "eigenvectors": V}
        values = {"value": value, "gradient_norm": g.norm(), "asymmetry": (raw - raw.T).abs().max(), "eigenvalues": λ}
        if self.n <= WRITTEN:
            values["hessian"] = H
        if self.n <= SHOWN:
            values |= {"gradient": g, "eigenvectors": V}
        return new, values

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, x, raw, H, λ, V = self.function, self.function.start, *(state[key] for key in KEYS)
        evidence = check_gradient(f, x, state["gradient"], k)
        evidence += check_hessian(f, x, raw, k)
        if f.exact is not None:  # otherwise it is among the checks already
            evidence.append(identity("hessian", "symmetry: H = Hᵀ", raw, raw.T, k, tolerance=slack(f, x, raw, 2)))
        if bool(H.isfinite().all()):
            evidence.append(identity("hessian", "H = V diag(λ) Vᵀ", H, (V * λ) @ V.T, k))
            evidence += check_eigenvalues(f, x, λ, k)
        return evidence

    def answer(self, state: State) -> Answer:
        f, g, λ = self.function, state["gradient"], state["eigenvalues"]
        told = ("gradient", "hessian") if self.n <= SHOWN else ()
        rest: dict[str, Tensor | str] = {key: state[key] for key in told}
        rest |= {"gradient_norm": g.norm(), "trace": state["hessian"].trace()}
        values: dict[str, Tensor | str] = {"value": state["value"]}
        latex = [] if f.exact is None else f.exact.derivative_latex(2)
        at = f" ({words.listing(f.start)})" if self.n <= 8 else ""
        ball = self.ball()
        if ball is None and not (bool(λ.isfinite().all()) and self.exists()):
            values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined", "eigenvalues": λ}
            text = f"the Hessian of {f.name} does not exist at the point{at}: a kink, or not finite there"
            return Answer(text, values | rest, latex)
        if ball is not None:
            λ = torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid)
        condition = condition_of_eigenvalues(λ, ball)
        values |= condition_values(condition, self.threshold)
        values |= {"kind": self.kind(state, λ), "eigenvalues": state["eigenvalues"]}
        values |= {"inertia": self.signs(λ), "curvature": inertia(λ).curvature, **rest}
        values |= condition_bounds(condition)
        text = (
            f"{f.name} at the point{at}: {values['kind']}; {'proven ' * (ball is not None)}"
            f"eigenvalue{'s' * (self.n > 1)} {words.ends(λ)} ({values['inertia']}); "
            f"{condition.sentence(self.threshold)}"
        )
        if not bool(state["eigenvalues"].isfinite().all()):
            text += "; the float64 program overflows here, so autograd has no Hessian"
        if self.n > WRITTEN:
            text += f"; the {self.n} × {self.n} matrix is not written (up to {WRITTEN} are)"
        return Answer(text, values, latex)

    def ball(self) -> Ball | None:
        """Proven eigenvalues, where the function is a formula and they could be proven."""
        if self.function.exact is None:
            return None
        ball = self.function.exact.eigenvalues(self.function.start)
        return ball if bool(ball.mid.isfinite().all()) and bool(ball.rad.isfinite().all()) else None

    def exists(self) -> bool:
        """Whether nothing speaks against a Hessian here: autograd gives numbers at kinks too."""
        f = self.function
        return f.exact is None or not bool(f.exact.enclose(f.start, 2).mid.isnan().any())

    def signs(self, λ: Tensor) -> str:
        found = inertia(λ)
        return f"{found.negative} negative, {found.zero} zero, {found.positive} positive"

    def kind(self, state: State, λ: Tensor) -> str:
        """What the point is. Stationary: the gradient is within rounding of zero, ‖g‖ <= √eps ‖H‖ (1 + ‖x‖)."""
        x, g = self.function.start, state["gradient"]
        rounding = torch.finfo(x.dtype).eps ** 0.5 * λ.abs().max() * (1 + x.norm())
        found = inertia(λ)
        return found.word if bool(g.norm() <= rounding) else f"not stationary, curvature {found.curvature}"

    def labels(self) -> Labels:
        order = tuple(f"λ{i + 1}" for i in range(self.n))
        labels: dict[str, tuple[Sequence[str], ...]] = {"eigenvalues": (order,)}
        names = self.function.variables
        if self.n <= WRITTEN:
            labels["hessian"] = (names, names)
        if self.n <= SHOWN:
            labels |= {"gradient": (names,), "eigenvectors": (names, order)}
        return labels

    def pictures(self) -> Sequence[Picture]:
        matrices = [Heatmap(name, name) for name in ("hessian", "eigenvectors")] if self.n <= SHOWN else []
        return [*matrices, Bars("eigenvalues", "eigenvalues")]


KEYS = ("raw", "hessian", "eigenvalues", "eigenvectors")


def eigen(H: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors; NaN where H is not finite, which LAPACK would refuse."""
    finite = H.isfinite().all()
    λ, V = torch.linalg.eigh(torch.where(finite, H, torch.zeros_like(H)))
    return torch.where(finite, λ, torch.nan), torch.where(finite, V, torch.nan)


def condition_values(condition: Condition, threshold: float) -> dict[str, Tensor | str]:
    """A condition number as an answer's values: a number only where there is one, never a random one."""
    if condition.singular:
        return {"condition": "singular to working precision", "conditioning": "singular"}
    return {
        "condition": torch.tensor(condition.value, dtype=torch.float64),
        "conditioning": "well-conditioned" if condition.value <= threshold else "ill-conditioned",
    }


def condition_bounds(condition: Condition) -> dict[str, Tensor | str]:
    """Between what the condition number lies, where it is known."""
    ends = {} if condition.singular else {"condition_low": condition.low, "condition_high": condition.high}
    return {name: torch.tensor(end, dtype=torch.float64) for name, end in ends.items()}
