"""Theory beside practice: what the Hessian at the start says of a rule and its learning rate before the first step.

On a quadratic the Hessian is the same everywhere, and what is said here holds; elsewhere it holds near the start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from calclab.core import Function, Rule
from calclab.numerics.operators import dense_hessian, evaluate
from calclab.numerics.spectrum import eigen, symmetric
from calclab.topic import words

ZERO = 1e-12  # an eigenvalue this much smaller than the largest is zero


@dataclass(frozen=True)
class Forecast:
    """``smallest`` and ``largest`` are the Hessian's extreme eigenvalues at the start.

    ``limit`` is the largest stable learning rate, ``best_lr`` the one with the least contraction factor
    ``best_factor``, ``factor`` the contraction at the learning rate asked for, and ``steps`` how many it takes from
    the gradient norm at the start to ``tol``. None where theory has nothing to say.
    """

    rule: str
    lr: float
    quadratic: bool
    smallest: float
    largest: float
    limit: float | None = None
    best_lr: float | None = None
    best_factor: float | None = None
    factor: float | None = None
    steps: float | None = None
    doomed: bool = False  # a quadratic, and the start is not on the stable directions

    def values(self) -> dict[str, float]:
        """What is known, by name."""
        known = {
            "largest_stable_lr": self.limit,
            "best_lr": self.best_lr,
            "best_contraction": self.best_factor,
            "predicted_contraction": self.factor,
            "expected_steps": self.steps,
        }
        return {name: value for name, value in known.items() if value is not None}

    def notes(self) -> list[str]:
        """What to say before the run."""
        if self.limit is None or self.lr <= self.limit:
            return []
        there = "everywhere" if self.quadratic else "at the start"
        limit, lr = words.number(self.limit), words.number(self.lr)
        ends = "this run must diverge" if self.doomed else "steps overshoot there, and the run may diverge"
        return [
            f"lr={lr} is above {limit}, the largest stable learning rate of {self.rule} {there} "
            f"(λmax = {words.number(self.largest)}): {ends}. Type for example lr={words.number(self.limit / 2)}"
        ]


def forecast(function: Function, rule: Rule, lr: float, tol: float) -> Forecast | None:
    """None where the rule has no theory or the Hessian does not exist."""
    theory: Any = getattr(rule, "theory", None)
    if theory is None:
        return None
    λ, V, g = at_start(function)
    if not bool(λ.isfinite().all()):
        return None
    smallest, largest = float(λ[0]), float(λ[-1])
    quadratic = function.exact is not None and function.exact.degree <= 2
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(rule).__name__).lower()
    if largest <= 0:
        return Forecast(name, lr, quadratic, smallest, largest)
    flat = smallest <= ZERO * largest
    told = theory(largest if flat else smallest, largest)
    if told is None:
        return None
    unstable = (V.T @ g).abs() > ZERO * g.norm()
    doomed = quadratic and lr > told.limit and bool(unstable[λ > (1 - 1e-9) * largest].any())
    if flat:
        return Forecast(name, lr, quadratic, smallest, largest, told.limit, doomed=doomed)
    factor = float(told.factor(lr))
    stable = lr < told.limit and 0 < factor < 1 and 0 < tol < float(g.norm())
    return Forecast(
        name,
        lr,
        quadratic,
        smallest,
        largest,
        float(told.limit),
        float(told.best_lr),
        float(told.best_factor),
        factor,
        float(told.count(lr, tol / float(g.norm()))) if stable else None,
        doomed,
    )


def at_start(function: Function) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues and vectors of the Hessian at the start and the gradient, found once for all runs on one function."""
    if function not in KNOWN:
        eigenvalues, V = eigen(symmetric(dense_hessian(function.call, function.start)))
        KNOWN[function] = eigenvalues, V, evaluate(function, function.start)[1]
    return KNOWN[function]


KNOWN: WeakKeyDictionary[Function, tuple[Tensor, Tensor, Tensor]] = WeakKeyDictionary()
