"""What is known of a rule before it starts: on a quadratic it is a linear map, and its spectral radius says all.

f(x) = ½ xᵀHx with eigenvalues of H in [l, L], l > 0, falls apart into its eigendirections: in each, gradient descent
multiplies x by 1 - lr λ, and rules with a velocity multiply a pair by a 2×2 matrix. Each radius below falls and then
rises with λ, so that the slower end of the interval rules. Adaptive rules (Adagrad, RMSprop, Adam, AdamW) divide by
what the gradient was: they are no linear maps, and have no theory of this kind; nor have line searches, which choose
their own rate, or L-BFGS. (Polyak 1964; Lessard, Recht and Packard 2016; O'Donoghue and Candès 2015.)

>>> theory = gradient_descent(1.0, 10.0)
>>> theory.limit, round(theory.best_lr, 4), round(theory.best_factor, 4)  # 2/L, 2/(l + L), (κ - 1)/(κ + 1)
(0.2, 0.1818, 0.8182)
>>> lr, momentum = polyak(1.0, 10.0)
>>> round(heavy_ball(1.0, 10.0, momentum).factor(lr), 4)  # (√κ - 1)/(√κ + 1)
0.5195
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Recurrence(NamedTuple):
    """x_{k+1} = trace x_k - determinant x_{k-1} from x_0 = 1, x_1 = ``first``: one eigendirection of a quadratic."""

    trace: float
    determinant: float
    first: float

    @property
    def radius(self) -> float:
        """The larger |z| with z² - trace z + determinant = 0."""
        discriminant = self.trace * self.trace - 4 * self.determinant
        if discriminant < 0:
            return math.sqrt(self.determinant)
        return (abs(self.trace) + math.sqrt(discriminant)) / 2

    def after(self, k: int) -> float:
        """The larger of |x_k| and |x_{k+1}|, by squaring: log k products of 2×2 matrices."""
        a, b, c, d = 1.0, 0.0, 0.0, 1.0  # a power of [[trace, -determinant], [1, 0]]
        p, q, r, s = self.trace, -self.determinant, 1.0, 0.0
        while k:
            if k & 1:
                a, b, c, d = a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s
            p, q, r, s = p * p + q * r, p * q + q * s, r * p + s * r, r * q + s * s
            k >>= 1
        return max(abs(a * self.first + b), abs(c * self.first + d))


@dataclass(frozen=True)
class Theory:
    """``limit`` is the least learning rate that is not stable, ``best_lr`` the one with the least contraction, which
    is ``best_factor``; ``ends`` gives what happens at a rate in the first and the last of the eigendirections."""

    limit: float
    best_lr: float
    best_factor: float
    ends: Callable[[float], tuple[Recurrence, ...]]

    def factor(self, lr: float) -> float:
        """The contraction a step in the long run: the larger radius."""
        return max(end.radius for end in self.ends(lr))

    def steps(self, factor: float, ratio: float) -> float:
        """How many steps of contraction ``factor`` it takes to shrink to ``ratio`` of the start."""
        if ratio >= 1:
            return 0.0
        if ratio <= 0 or factor >= 1:
            return math.inf
        return 1.0 if factor == 0 else math.ceil(math.log(ratio) / math.log(factor))

    def count(self, lr: float, ratio: float) -> float:
        """How many steps it takes at ``lr`` until x has shrunk to ``ratio`` of the start in both directions.

        A velocity first makes x grow, at the best rate like k ρ^k, so that this is more than ``steps`` of the factor.
        """
        ends = self.ends(lr)
        if ratio >= 1 or self.factor(lr) >= 1:
            return 0.0 if ratio >= 1 else math.inf
        if not any(end.determinant for end in ends):
            return self.steps(self.factor(lr), ratio)  # without a velocity x shrinks evenly
        low, high = 0, 1
        while max(end.after(high) for end in ends) > ratio:
            low, high = high, 2 * high
            if high > MOST:
                return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            if max(end.after(middle) for end in ends) > ratio:
                low = middle
            else:
                high = middle
        return float(high)


MOST = 2**60


def gradient_descent(smallest: float, largest: float) -> Theory:
    """|1 - lr λ| < 1 for lr < 2/L; best 2/(l + L), with (κ - 1)/(κ + 1), κ = L/l."""

    def ends(lr: float) -> tuple[Recurrence, ...]:
        return tuple(Recurrence(1 - lr * λ, 0.0, 1 - lr * λ) for λ in (smallest, largest))

    return Theory(2 / largest, 2 / (smallest + largest), (largest - smallest) / (largest + smallest), ends)


def heavy_ball(smallest: float, largest: float, momentum: float) -> Theory:
    """x_{k+1} = (1 + μ - lr λ) x_k - μ x_{k-1}: [[1 + μ - lr λ, -μ], [1, 0]], stable for lr < 2(1 + μ)/L.

    The radius depends on |1 + μ - lr λ| alone, and is √μ wherever that is at most 2√μ; the best rate for the momentum
    given, 2(1 + μ)/(l + L), has it equal at both ends.
    """

    def ends(lr: float) -> tuple[Recurrence, ...]:
        return tuple(Recurrence(1 + momentum - lr * λ, momentum, 1 - lr * λ) for λ in (smallest, largest))

    best = 2 * (1 + momentum) / (smallest + largest)
    return Theory(2 * (1 + momentum) / largest, best, max(end.radius for end in ends(best)), ends)


def polyak(smallest: float, largest: float) -> tuple[float, float]:
    """The best pair of a heavy ball, lr and momentum: 4/(√L + √l)², ((√κ - 1)/(√κ + 1))²; factor (√κ - 1)/(√κ + 1)."""
    low, high = math.sqrt(smallest), math.sqrt(largest)
    return 4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2


def nesterov(smallest: float, largest: float, momentum: float) -> Theory:
    """[[1 - (1 + μ) lr λ, -lr μ²], [λ, μ]] on (x_k, v_k): trace (1 + μ)(1 - lr λ), determinant μ(1 - lr λ).

    Stable for lr < (2 + 2μ)/((1 + 2μ) L). The radius is 0 at lr λ = 1 and grows to both sides; the best rate has it
    equal at both ends, and is found by bisection.
    """

    def ends(lr: float) -> tuple[Recurrence, ...]:
        return tuple(
            Recurrence((1 + momentum) * (1 - lr * λ), momentum * (1 - lr * λ), 1 - (1 + momentum) * lr * λ)
            for λ in (smallest, largest)
        )

    limit = (2 + 2 * momentum) / ((1 + 2 * momentum) * largest)
    low, high = 1 / largest, limit
    for _ in range(100):  # more than the bits of a float
        middle = (low + high) / 2
        slow, fast = ends(middle)
        if slow.radius > fast.radius:
            low = middle
        else:
            high = middle
    factor, best = min((max(end.radius for end in ends(lr)), lr) for lr in (low, high))
    return Theory(limit, best, factor, ends)


def newton() -> Theory:
    """x_{k+1} - x* = (1 - lr)(x_k - x*), whatever the eigenvalues: one step at lr = 1."""
    return Theory(2.0, 1.0, 0.0, lambda lr: (Recurrence(1 - lr, 0.0, 1 - lr),))
