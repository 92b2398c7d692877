"""The largest stable rate of a rule where a network stands, with its bound: λmax, as the rule feels it, at both ends.

Found by products with the Hessian of all rows, from a random start, so that what was missed is bounded
(`second_order.sharpness`). It is told where the products of both ends are a small part of the walk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function, Line, Rule, State
from calclab.numerics.operators import NoSecondDerivative, hessian
from calclab.optimizer.stability import Frozen, diagonals
from calclab.second_order.sharpness import scaled, sharpness

PRODUCTS = 12  # at each end
GRADIENTS = 60  # what both ends cost, about; told where it is at most SHARE of those of the walk
SHARE = 0.15
NUMBERS = 5e8  # parameters times rows, whose graph is kept


@dataclass(frozen=True)
class Edge:
    """The largest stable rate, no smaller than ``least``, and λmax as the rule feels it, no larger than ``most``."""

    rate: float
    least: float
    sharpness: float
    most: float
    share: Frozen

    @property
    def text(self) -> str:
        bound = self.rate - self.least
        return f"{self.rate:.4g} ± {bound:.2g}" if isfinite(bound) else f"{self.rate:.4g}"

    @property
    def adaptive(self) -> bool:
        return isinstance(self.share.inverse, Tensor)


def worth(parameters: int, rows: int, gradients: float) -> bool:
    """Whether looks at both ends are a small part of a walk of so many gradients over all rows."""
    return parameters * rows <= NUMBERS and SHARE * gradients >= GRADIENTS


def edge(function: Function, rule: Rule, state: State, lr: float, x: Tensor, seed: int) -> Edge | None:
    """At x (n,), with the rule's state there; None where it has no such rate, or where none is too large."""
    known: Any = getattr(rule, "frozen", None)
    share: Frozen | None = None if known is None or not lr else known(state, lr)
    if share is None or not bool(x.isfinite().all()):
        return None
    felt = diagonals({x: share}, [x])
    try:
        A = scaled(hessian(function.call, x, lanes=1), felt.c, felt.d, felt.sign)
        found = sharpness(A, seed=seed, most=PRODUCTS)
    except NoSecondDerivative:
        return None
    ratio, bound = float(found.value), found.bound
    if not isfinite(ratio) or ratio <= 0:
        return None
    per = share.threshold / lr
    own = share.decoupled / 2  # of decay that is not the loss's
    return Edge(lr / ratio, lr / (ratio + bound), per * (ratio - own), per * (ratio - own + bound), share)


def values(start: Edge | None, here: Edge | None) -> Iterator[tuple[str, Tensor]]:
    """The rates by name, each with how far it goes."""
    for name, one in (("largest_stable_lr", start), ("largest_stable_lr_here", here)):
        if one is not None:
            told = {name: one.rate, f"{name}_low": one.least, f"{name}_high": one.rate}
            yield from ((key, torch.tensor(value, dtype=torch.float64)) for key, value in told.items())


def line(start: Edge | None, here: Edge | None) -> Line | None:
    """The rates of both ends, and what they are made of."""
    both = [(place, one) for place, one in (("at the start", start), ("here", here)) if one is not None]
    if not both:
        return None
    one = both[-1][1]
    what = "λmax(P^-½ H P^-½), P as its second moments are," if one.adaptive else "λmax"
    found = " → ".join(f"{edge.sharpness:.4g}" for _, edge in both)
    rates = ", ".join(f"{edge.text} {place}" for place, edge in both)
    text = f"{rates}: {what} is {found}, and lr times it is to stay below {one.share.threshold:.4g}"
    return Line("stable lr", text)
