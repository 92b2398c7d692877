"""A quadratic falls apart into its eigendirections: the walk along each, and rates of momentum over a map of its knobs.

With H = V Λ Vᵀ and x* the stationary point, c = Vᵀ(x - x*) has in direction i a recurrence of its own, and shrinks in
the long run by the spectral radius ρ_i(lr, momentum, λ_i) a step (`optimizer.theory`; O'Donoghue and Candès 2015).
Near a minimum that is known, the same holds for its Hessian to first order.

The map is measured as it is predicted, by walks of the rule itself (`optimizer.rates`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from calclab.core import Function, Rule
from calclab.numerics.operators import hessian_where_known, loss_and_gradient
from calclab.numerics.spectrum import eigen, symmetric
from calclab.optimizer.rates import RateMap, at_each, measured

MOST = 20  # variables
ACROSS, UP, STEPS = 57, 41, 240  # rates, momenta; of each walk
NEAR = 0.1  # of the walk's extent: how near to a minimum a walk ends to be told in its directions


class Modes(NamedTuple):
    """Where the directions start (n,), their eigenvalues (n,), themselves (n, n) as columns, and how much a step
    shrinks each (n,), NaN where theory says nothing."""

    origin: Tensor
    eigenvalues: Tensor
    directions: Tensor
    rates: Tensor


def modes(function: Function, rule: Rule, lr: float, end: Tensor, extent: float) -> Modes | None:
    """Of a quadratic, or at the known minimum near the ``end`` of a walk; None elsewhere."""
    n = len(function.start)
    exact = function.exact
    if exact is None or n > MOST:
        return None
    if exact.degree <= 2:
        x = function.start
    elif function.minima is not None and len(function.minima):
        minima = function.minima.reshape(-1, n)
        away = (minima - end.to(minima)).norm(dim=1)
        if not float(away.min()) <= NEAR * extent:
            return None
        x = minima[away.argmin()]
    else:
        return None
    λ, V = eigen(symmetric(hessian_where_known(function.call, x)))
    if not bool(λ.isfinite().all()) or not bool((λ.abs() > 1e-12 * λ.abs().max()).all()):
        return None
    g = loss_and_gradient(function, x)[1]
    origin = x - V @ ((V.T @ g) / λ) if exact.degree <= 2 else x
    made: Any = getattr(rule, "theory", None)
    rates = [made(float(v), float(v)).factor(lr) if made is not None and v > 0 else torch.nan for v in λ]
    origin, λ, V = (part.detach().cpu().double() for part in (origin, λ, V))
    return Modes(origin, λ, V, torch.tensor(rates, dtype=torch.float64))


def mapped(function: Function, rule: Any) -> bool:
    """Whether there is a map of rates: of a rule with momentum on a convex quadratic of a few variables."""
    exact = function.exact
    return (
        hasattr(rule, "momentum")
        and hasattr(rule, "theory")
        and exact is not None
        and exact.degree == 2
        and len(function.start) <= MOST
        and bool(spectrum(function)[0] > 0)
    )


def spectrum(function: Function) -> Tensor:
    """The eigenvalues of the Hessian at the start, ascending; kept with the function."""
    return function.once(
        "eigenvalues for the map of rates", lambda f: eigen(symmetric(hessian_where_known(f.call, f.start)))[0]
    )


def rates(function: Function, rule: Any) -> RateMap:
    """The map: all walks in one batch."""
    λ = spectrum(function).detach().cpu().double()
    least, largest = float(λ[0]), float(λ[-1])
    lrs = torch.linspace(0, 4 / largest, ACROSS + 1, dtype=torch.float64)[1:]
    momenta = torch.linspace(0, 0.98, UP, dtype=torch.float64)
    predicted = torch.tensor(
        [[rule_at.theory(least, largest).factor(float(lr)) for lr in lrs] for rule_at in at_each(rule, momenta)],
        dtype=torch.float64,
    )
    i, j = divmod(int(predicted.argmin()), ACROSS)
    best = (float(lrs[j]), float(momenta[i]))
    return RateMap(lrs, momenta, measured(rule, λ, lrs, momenta, STEPS), predicted, best)
