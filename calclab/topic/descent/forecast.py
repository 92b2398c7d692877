"""Theory beside practice: what the Hessian at the start says of a rule and its learning rate before the first step.

On a quadratic the Hessian is the same everywhere, and what is said here holds; elsewhere it holds near the start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from calclab.core import Function, Line, Rule
from calclab.numerics.operators import hessian_where_known, loss_and_gradient
from calclab.numerics.spectrum import eigen, inertia, symmetric
from calclab.topic import words

ZERO = 1e-12  # an eigenvalue this much smaller than the largest is zero
PROVEN = 16  # variables up to which the signs of a quadratic's eigenvalues are proven
SLOW = 1e-6  # what grows by less a step is not said to run away


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
    bottomless: bool = False  # a quadratic that falls for ever along some direction, and the rule follows it there

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

    def lines(self) -> list[Line]:
        """What theory had said, after the run."""
        where = "" if self.quadratic else " at the start"
        if self.limit is None:
            return []
        parts = [f"the largest stable lr{where} is {words.number(self.limit)}"]
        if self.factor is not None:
            parts.append(f"contraction {words.number(self.factor)} a step predicted")
        if self.steps is not None:
            parts.append(f"about {self.steps:.0f} steps")
        return [Line("theory", ", ".join(parts), "largest_stable_lr")]

    def notes(self) -> list[str]:
        """What to say before the run."""
        if self.bottomless:
            ends = "this run must diverge" if self.doomed else "this run may end at a saddle"
            return [f"{self.fall}: it has no minimum and no stable learning rate, and {ends}"]
        if self.limit is None or self.lr <= self.limit:
            return []
        there = "everywhere" if self.quadratic else "at the start"
        limit, lr = words.number(self.limit), words.number(self.lr)
        ends = "this run must diverge" if self.doomed else "steps overshoot there, and the run may diverge"
        return [
            f"lr={lr} is above {limit}, the largest stable learning rate of {self.rule} {there} "
            f"(λmax = {words.number(self.largest)}): {ends}. Type for example lr={words.number(self.limit / 2)}"
        ]

    @property
    def fall(self) -> str:
        return f"a quadratic with a negative eigenvalue (λmin = {words.number(self.smallest)}) falls for ever"


def forecast(function: Function, rule: Rule, lr: float, tol: float) -> Forecast | None:
    """None where the rule has no theory or the Hessian does not exist."""
    theory: Any = getattr(rule, "theory", None)
    if theory is None:
        return None
    λ, V, g, falling = function.once("spectrum at the start", start_spectrum)
    if not bool(λ.isfinite().all()):
        return None
    smallest, largest = float(λ[0]), float(λ[-1])
    quadratic = is_quadratic(function)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(rule).__name__).lower()
    along = (V.T @ g).abs()
    steep = bool((along[λ > (1 - 1e-9) * largest] > ZERO * g.norm()).any())
    if quadratic and falling and follows(theory, lr):
        growth = theory(smallest, max(largest, 0.0) - 2 * smallest).ends(lr)[0].radius
        leaves = growth > 1 + SLOW and bool(along[:falling].max() > tol)  # what only grows never falls below tol
        doomed = leaves or (largest > 0 and steep and lr > theory(largest, largest).limit)
        return Forecast(name, lr, quadratic, smallest, largest, doomed=doomed, bottomless=True)
    if largest <= 0:
        return Forecast(name, lr, quadratic, smallest, largest)
    flat = smallest <= ZERO * largest
    known = theory(largest if flat else smallest, largest)
    if known is None:
        return None
    doomed = quadratic and steep and lr > known.limit
    if flat:
        return Forecast(name, lr, quadratic, smallest, largest, known.limit, doomed=doomed)
    factor = float(known.factor(lr))
    stable = lr < known.limit and 0 < factor < 1 and 0 < tol < float(g.norm())
    return Forecast(
        name,
        lr,
        quadratic,
        smallest,
        largest,
        float(known.limit),
        float(known.best_lr),
        float(known.best_factor),
        factor,
        float(known.count(lr, tol / float(g.norm()))) if stable else None,
        doomed,
    )


def follows(theory: Any, lr: float) -> bool:
    """Whether a rule runs away faster the more a direction curves down: Newton's method goes to the saddle."""
    none = theory(1 / lr, 1 / lr)
    if none is None:
        return False
    more, less = (theory(λ / lr, 3 / lr).ends(lr)[0].radius for λ in (-1.0, -0.5))
    return bool(more > less)


def is_quadratic(function: Function) -> bool:
    return function.exact is not None and function.exact.degree <= 2


def start_spectrum(function: Function) -> tuple[Tensor, Tensor, Tensor, int]:
    """Eigenvalues and vectors of the Hessian at the start, the gradient, and how many eigenvalues are negative, which
    is proven for a small quadratic."""
    λ, V = eigen(symmetric(hessian_where_known(function.call, function.start)))
    ball = None
    if function.exact is not None and is_quadratic(function) and len(λ) <= PROVEN:
        ball = function.exact.eigenvalues(function.start)
        if bool((ball.mid.isfinite() & ball.rad.isfinite()).all()):
            λ = ball.mid.to(λ)
        else:
            ball = None
    return λ, V, loss_and_gradient(function, function.start)[1], inertia(λ, ball).negative
