"""What is known of a walk at its end, beside the columns: where it began, what its rate is held against, its network.

What costs something is found when it is asked for: a walk that has settled asks for none of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function, Rule, State
from calclab.numerics.operators import NoSecondDerivative
from calclab.subject.network import Network
from calclab.subject.scores import scores
from calclab.topic import words
from calclab.topic.descent.edge import Edge, edge, worth
from calclab.topic.descent.forecast import Forecast
from calclab.topic.descent.sharpness import random_direction, sharpness
from calclab.topic.descent.stopping import at_start

FAR_ABOVE = 1  # times the size of the loss at the start, above it: lost
PRODUCTS = 12  # with the Hessian, to hold a rate against λmax: what they find is never above it


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """At x (n,) after the step ``move``; ``loss`` and ``gradient`` are those of all rows there.

    ``contraction`` is ‖g‖ over what it was before the last step, None of mini-batches, whose rows differ. The rate of a
    step is ``lr`` times the factor of a schedule: ``last`` at the last step, ``peak`` the largest of those taken.
    ``sharpness`` is λmax as it was last measured on the way, where that was asked for. ``state`` is the rule's, and
    ``steps`` were asked for.
    """

    subject: Function | Network
    function: Function
    rule: Rule
    x: Tensor
    move: Tensor
    loss: Tensor
    gradient: Tensor
    contraction: float | None
    tol: float
    lr: float
    runaway: bool
    forecast: Forecast | None
    scheduled: bool = False
    last: float = 1.0
    peak: float = 1.0
    batch: int | None = None
    sharpness: float | None = None
    seed: int = 0
    state: State | None = None
    steps: int = 0

    @property
    def network(self) -> Network | None:
        return self.subject if isinstance(self.subject, Network) else None

    @cached_property
    def start(self) -> tuple[float, float]:
        """f and ‖g‖ at the start."""
        return at_start(self.function)

    @property
    def rise(self) -> float:
        """By how much the loss is above its start, in terms of what it was there."""
        return (float(self.loss) - self.start[0]) / max(abs(self.start[0]), torch.finfo(self.x.dtype).eps ** 0.5)

    @property
    def fell(self) -> str:
        """The way of the loss, in words."""
        before, after = self.start[0], float(self.loss)
        verb = "fell" if after < before else "rose" if after > before else "stayed"
        return f"the loss {verb} from {words.number(before)} to {words.number(after)}"

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """How well the network does; none of a function."""
        return {} if self.network is None else scores(self.network, self.x)

    # --- what the rate is held against: rates beyond it grow along the sharpest direction ---

    @cached_property
    def edges(self) -> tuple[Edge | None, Edge | None]:
        """The largest stable rates of a network at the start and here, where finding them is a small part of it."""
        if self.network is None or self.state is None:
            return None, None
        rows = len(self.network.data.inputs)
        gradients = self.steps * (1.0 if self.batch is None else self.batch / rows)
        if not worth(len(self.x), rows, gradients):
            return None, None
        f, rule, start = self.function, self.rule, self.function.start
        first = None if self.forecast is not None else edge(f, rule, rule.init(start), self.lr, start, self.seed)
        lost = self.runaway or self.rise > FAR_ABOVE  # where it ended nobody will train
        return first, None if lost else edge(f, rule, self.state, self.lr * self.last, self.x, self.seed)

    @cached_property
    def limit_at_start(self) -> float | None:
        """The largest stable rate at the start; None where theory has nothing to say."""
        if self.forecast is not None:
            return self.forecast.limit
        return self.limit(self.function.start)

    @cached_property
    def limit_here(self) -> float | None:
        """The largest stable rate where the walk ended."""
        if self.forecast is not None and self.forecast.quadratic:
            return self.forecast.limit
        return self.limit(self.x) if self.sharpness is None else stable(self.rule, self.sharpness)

    @property
    def beyond(self) -> float | None:
        """The last rate in terms of the largest stable one here, of gradient descent λmax·lr/2: above 1 steps grow."""
        return None if self.limit_here is None else self.lr * self.last / self.limit_here

    def limit(self, x: Tensor) -> float | None:
        """An upper bound on the stable rates at x: λmax is found from below."""
        if not hasattr(self.rule, "theory"):
            return None
        try:
            found = sharpness(self.function, x, random_direction(x, self.seed), self.seed, most=PRODUCTS)
        except NoSecondDerivative:
            return None
        return stable(self.rule, float(found.value))


def stable(rule: Rule, λ: float) -> float | None:
    """The largest stable rate along a direction of curvature λ; None where the rule has no theory, or λ <= 0."""
    theory: Any = getattr(rule, "theory", None)
    found = theory(λ, λ) if theory is not None and 0 < λ < math.inf else None
    return None if found is None else float(found.limit)
