"""Line searches: how far to go in the direction that a rule proposes.

A line search is a rule around a rule. The direction d is what the inner rule would move at lr = 1; the first step
length tried is lr. Where d does not go downhill, -g takes its place. A search looks at each trial before it chooses
the next, so it is for one run at a time; it draws no random numbers.

Near a minimum the decrease of f drowns in rounding: a trial may be higher than asked for by a few units in the last
place of f (approximate Wolfe conditions, Hager and Zhang 2005). Trials are counted as evaluations, but for the one
taken, which is the walk's own next evaluation. When no trial does, the point stays where it is.

With φ(t) = f(x + t d), φ'(0) < 0:

    Armijo          φ(t) <= φ(0) + c1 t φ'(0)                            enough decrease for what the slope promises
    strong Wolfe    the same, and |φ'(t)| <= c2 |φ'(0)|, c1 < c2 < 1     and no slope left that would still go down

For f bounded below such t exist in an interval (Nocedal and Wright, lemma 3.1), and with directions that stay away from
being orthogonal to g the gradients go to 0 (Zoutendijk, theorem 3.2 there). The second condition gives yᵀs > 0, which
L-BFGS needs.

>>> wolfe = Wolfe(rule=None, c1=1e-4, c2=0.1, trials=20)
>>> wolfe.search(lambda t: Trial(t, (t - 1) ** 2, 2 * (t - 1)), Trial(0.0, 1.0, -2.0), 0.3)[0]
1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Function, Point, Rule, State
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer.counting import Counting, counter, spent

ULPS = 8  # units in the last place of f that count as nothing


class Trial(NamedTuple):
    """φ(t) = f(x + t d) and φ'(t) = ∇f(x + t d)·d at the step length t."""

    t: float
    value: float
    slope: float


Look = Callable[[float], Trial]


def admit(rule: Rule, function: Function) -> None:
    """UserError where a rule cannot walk on ``function``."""
    check: Callable[[Function], None] | None = getattr(rule, "admit", None)
    if check is not None:
        check(function)


def direction(rule: Rule, point: Point, state: State) -> tuple[Tensor, State]:
    """The inner rule's move at lr = 1, or -g where that does not go downhill; and its next state."""
    d, new = rule.update(point, state, 1.0)
    return (d if bool(d @ point.gradient < 0) else -point.gradient), new


def looker(point: Point, d: Tensor) -> Look:
    """φ and φ' along d."""

    def look(t: float) -> Trial:
        value, gradient = loss_and_gradient(point.function, point.x + d * t)
        return Trial(t, float(value), float(gradient @ d))

    return look


def level(value: float, x: Tensor) -> float:
    """What is lost in rounding f: a few units in its last place."""
    return ULPS * torch.finfo(x.dtype).eps * abs(value)


def value_of(function: Function, x: Tensor) -> float:
    """f(x) alone, with the bits that ``loss_and_gradient`` gives."""
    if function.exact is not None and function.exact.lean is not None:
        return float(function.exact.lean(x)[0])
    with torch.no_grad():
        return float(function.call(x))


@dataclass(frozen=True, kw_only=True)
class Search(Counting):
    """What every line search has: the rule that proposes, whose state is within its own, and a count of trials."""

    rule: Rule

    def admit(self, function: Function) -> None:
        admit(self.rule, function)

    def init(self, x: Tensor) -> State:
        return {"rule": self.rule.init(x), "spent": counter(x)}

    def spent(self, state: State) -> int:
        """The trials, and what the rule has used."""
        return super().spent(state) + spent(self.rule, state["rule"])


@dataclass(frozen=True, kw_only=True)
class Armijo(Search, schema.line_search.Armijo):
    """Backtracking (Armijo 1966; Nocedal and Wright, algorithm 3.1): t = lr, lr shrink, lr shrink², ... until
    f(x + t d) <= f(x) + c1 t g·d."""

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        d, inner = direction(self.rule, point, state["rule"])
        f, slope = float(point.loss), float(point.gradient @ d)
        slack, t = level(f, point.x), float(lr)
        for trial in range(self.trials):
            if value_of(point.function, point.x + d * t) <= f + self.c1 * t * slope + slack:
                return d * t, {"rule": inner, "spent": state["spent"] + trial}
            t *= self.shrink
        return torch.zeros_like(d), {"rule": inner, "spent": state["spent"] + self.trials}


@dataclass(frozen=True, kw_only=True)
class Wolfe(Search, schema.line_search.Wolfe):
    """The strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6): f(x + t d) <= f(x) + c1 t g·d and
    |∇f(x + t d)·d| <= c2 |g·d|. Step lengths grow until an interval holds one, then cubic interpolation closes in.

    c2 = 0.9 suits Newton-like directions, 0.1 gradients and conjugate gradients.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c2 <= self.c1:
            raise UserError(f"line_search.c2={self.c2} is not above c1={self.c1}. Type line_search.c2=0.9")

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        d, inner = direction(self.rule, point, state["rule"])
        start = Trial(0.0, float(point.loss), float(point.gradient @ d))
        t, trials = self.search(looker(point, d), start, float(lr), level(start.value, point.x))
        return d * t, {"rule": inner, "spent": state["spent"] + max(trials - (t > 0), 0)}

    def search(self, look: Look, start: Trial, first: float, slack: float = 0.0) -> tuple[float, int]:
        """The step length, and how many were tried. 0 when none was lower; where trials ran out, the lowest."""
        before, t = start, first
        for trial in range(1, self.trials + 1):
            new = look(t)
            if self.high(new, start, slack) or (trial > 1 and new.value > before.value + slack):
                return self.zoom(look, start, before, new, trial, slack)
            if self.flat(new, start):
                return t, trial
            if new.slope >= 0:
                return self.zoom(look, start, new, before, trial, slack)
            before, t = new, 2 * t
        return before.t, self.trials

    def zoom(self, look: Look, start: Trial, low: Trial, high: Trial, trials: int, slack: float) -> tuple[float, int]:
        """Algorithm 3.6: ``low`` is the lowest so far, and its slope points to ``high``."""
        while trials < self.trials:
            new = look(between(low, high))
            trials += 1
            if self.high(new, start, slack) or new.value > low.value + slack:
                high = new
                continue
            if self.flat(new, start):
                return new.t, trials
            if new.slope * (high.t - low.t) >= 0:
                high = low
            low = new
        return low.t, trials

    def high(self, trial: Trial, start: Trial, slack: float) -> bool:
        """Not low enough; what is not a number is never low enough."""
        return not trial.value <= start.value + self.c1 * trial.t * start.slope + slack

    def flat(self, trial: Trial, start: Trial) -> bool:
        return abs(trial.slope) <= -self.c2 * start.slope


def between(low: Trial, high: Trial) -> float:
    """The minimum of the cubic through both values and slopes (Nocedal and Wright, equation 3.59), where it lies well
    inside; else the middle.

    With s from 0 at ``low`` to 1 at ``high`` its slope is a s² - 2 b s + p. Of the two forms of the root where it
    rises, (b + d) / a and p / (b - d), that one is taken in which nothing cancels.
    """
    width = high.t - low.t
    middle = (low.t + high.t) / 2
    p, q = low.slope * width, high.slope * width
    d1 = p + q - 3 * (high.value - low.value)
    a, b, square = p + q + 2 * d1, p + d1, d1 * d1 - p * q
    if not 0 <= square < math.inf:
        return middle
    top, divisor = (b + math.sqrt(square), a) if b >= 0 else (p, b - math.sqrt(square))
    s = top / divisor if divisor else math.nan
    return low.t + s * width if 0.05 <= s <= 0.95 else middle
