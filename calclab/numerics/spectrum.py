"""Eigenvalues of a symmetric matrix; what they and singular values say, and how sure that is: κ, inertia, rank.

Computed eigenvalues are off by up to n eps max|λ| (Weyl; LAPACK's backward error), so that κ = max/min has a bound of
its own, and where the smallest is within that error of zero κ is only known to be large: never a random number.

With e = n eps max|λ|, and a >= b >= 0 the largest and smallest size: (a - e)/(b + e) <= κ <= (a + e)/(b - e), the
latter infinite where b <= e. Where the eigenvalues of a formula are proven, e is the radius of their balls.

>>> κ = condition_of_eigenvalues(torch.tensor([-2.0, 4.0], dtype=torch.float64))
>>> round(κ.value, 9), κ.low <= 2 <= κ.high, κ.singular
(2.0, True, False)
>>> inertia(torch.tensor([-2.0, 1e-17, 4.0], dtype=torch.float64)).word
'saddle'
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Ball


def symmetric(raw: Tensor) -> Tensor:
    """(A + Aᵀ) / 2 of A (n, n): what rounding has made unequal, made equal."""
    return (raw + raw.T) / 2


def eigen(H: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (n,), ascending, and eigenvectors (n, n); NaN where H is not finite, which LAPACK would refuse."""
    finite = H.isfinite().all()
    λ, V = torch.linalg.eigh(torch.where(finite, H, torch.zeros_like(H)))
    return torch.where(finite, λ, torch.nan), torch.where(finite, V, torch.nan)


def eigenvalues_of(H: Tensor) -> Tensor:
    """The eigenvalues alone, which LAPACK finds in another way, with other last bits."""
    finite = H.isfinite().all()
    return torch.where(finite, torch.linalg.eigvalsh(torch.where(finite, H, torch.zeros_like(H))), torch.nan)


@dataclass(frozen=True)
class Condition:
    """κ = largest / smallest: the computed ``value``, and ``low`` <= κ <= ``high`` (``high`` may be infinite).

    ``singular``: the smallest cannot be told from zero, so that only ``low`` means anything.
    """

    value: float
    low: float
    high: float
    singular: bool

    def text(self, threshold: float) -> str:
        """κ and the verdict on it, in words."""
        if self.value != self.value:
            return "undefined: not all entries are finite"
        if self.singular:
            if self.low == float("inf"):
                return "infinite: singular"
            return f"at least {self.low:.2g}: singular to working precision"
        word = "well-conditioned" if self.value <= threshold else "ill-conditioned"
        spread = (self.high - self.low) / 2
        bound = f" ± {spread:.1g}" if spread > 5e-7 * self.value else ""
        return f"{self.value:.6g}{bound}: {word} (threshold {threshold:g})"


def condition_of_eigenvalues(eigenvalues: Tensor, ball: Ball | None = None) -> Condition:
    """κ = max|λ| / min|λ| of a symmetric matrix with eigenvalues (n,); proven where their ball is given."""
    return condition(eigenvalues.abs(), len(eigenvalues), ball)


def condition_of_singular_values(singular_values: Tensor, ball: Ball | None = None) -> Condition:
    """κ = σ_max / σ_min with singular values (min(m, n),); proven where their ball is given."""
    return condition(singular_values, len(singular_values), ball)


def condition(sizes: Tensor, n: int, ball: Ball | None = None) -> Condition:
    """κ of the sizes (n,) >= 0, each known to n eps max, or of the proven ones."""
    if ball is not None and bool(ball.mid.isfinite().all() & ball.rad.isfinite().all()):
        sizes, radius = ball.mid.detach().double().abs(), ball.rad.detach().double()
    else:
        radius = torch.full_like(sizes, n * torch.finfo(sizes.dtype).eps) * sizes.max()
        sizes, radius = sizes.detach().to("cpu", torch.float64), radius.detach().to("cpu", torch.float64)
    if not bool(sizes.isfinite().all()):
        return Condition(torch.nan, torch.nan, torch.nan, True)
    below, above = (sizes - radius).clamp(min=0), sizes + radius
    largest, smallest = float(sizes.max()), float(sizes.min())
    most, least = float(above.max()), float(below.min())
    low = ratio(float(below.max()), float(above.min()))
    return Condition(ratio(largest, smallest), low, ratio(most, least), least <= 0)


def ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("inf")


@dataclass(frozen=True)
class Inertia:
    """How many eigenvalues are negative, zero to working precision, and positive."""

    negative: int
    zero: int
    positive: int

    @property
    def word(self) -> str:
        """The kind of stationary point that such a Hessian makes: minimum, maximum, saddle or degenerate.

        Degenerate: some direction is flat to second order and no two signs occur, so that H cannot tell.
        """
        if self.negative and self.positive:
            return "saddle"
        if self.zero:
            return "degenerate"
        return "minimum" if self.positive else "maximum"

    @property
    def curvature(self) -> str:
        """The definiteness of the matrix, true at any point."""
        if self.negative and self.positive:
            return "indefinite"
        if not self.negative and not self.positive:
            return "zero"
        sign = "positive" if self.positive else "negative"
        return f"{sign} semidefinite" if self.zero else f"{sign} definite"


def inertia(eigenvalues: Tensor, ball: Ball | None = None) -> Inertia:
    """Signs of the eigenvalues (n,). Computed ones count as zero where |λ| <= n eps max|λ| (Weyl's bound on their
    error), proven ones only where their ball holds zero, however small they are beside the others.
    """
    n = len(eigenvalues)
    if ball is not None:
        beyond = torch.zeros_like(ball.rad)  # numbers outside float64's range, whose midpoint has their sign
        beyond[list(ball.beyond)] = 1
        values, zero = ball.mid, torch.where(beyond > 0, 0.0, ball.rad)
    else:
        values, zero = eigenvalues, n * torch.finfo(eigenvalues.dtype).eps * eigenvalues.abs().max()
    negative, positive = int((values < -zero).sum()), int((values > zero).sum())
    return Inertia(negative, n - negative - positive, positive)


def rank(singular_values: Tensor, shape: tuple[int, ...]) -> int:
    """How many σ exceed max(m, n) eps σ_max (Golub and Van Loan, section 5.4.1; LAPACK's habit)."""
    if not len(singular_values):
        return 0
    least = max(shape) * torch.finfo(singular_values.dtype).eps * singular_values.max()
    return int((singular_values > least).sum())
