"""Rules of the Gauss-Newton matrix, for functions that are a loss of something: networks.

G = Jᵀ H J (`numerics.gauss_newton`) is positive semidefinite, so its steps go downhill from wherever they start. It is
formed for few parameters, and multiplied by, in conjugate gradients, for many.

    Gauss-Newton       (G + λ I) s = -g,  x <- x + lr s,   λ found by trying
    natural gradient   (F + λ I) s = -g,  x <- x + lr s,   λ fixed; F = G for cross-entropy and squared errors

For a fit without residuals (every row fitted) the Hessian is G at the minimum, and Gauss-Newton converges
quadratically near it, as Newton's method does (Nocedal and Wright, section 10.3). One update costs n products of three
gradients each where G is formed (n up to ``dense``), else at most ``products`` of them; all of it is counted in
``spent``, so that a comparison by gradient evaluations is fair.

Raises UserError for a function that is no loss of something, such as a formula.

>>> import calclab
>>> line = torch.nn.Linear(1, 1).double()
>>> loss = calclab.loss(line, "mse", (torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [2.0]])))
>>> calclab.descent(loss, optimizer="gauss_newton", lr=1, steps=20).ended  # a linear fit
'minimum'
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Function, Point, State
from calclab.errors import UserError
from calclab.numerics import conjugate
from calclab.numerics.gauss_newton import dense_gauss_newton, gauss_newton
from calclab.optimizer.counting import Counting, counter
from calclab.optimizer.levenberg import search

PRODUCT = 3  # gradients that a product with G costs: J v is two backward passes, Jᵀu one
TOL = 1e-10  # of the residual, where conjugate gradients end


class Solver:
    """(G + λ)⁻¹ g for one point and many λ; ``spent`` counts the gradients it has cost."""

    def __init__(self, point: Point, dense: int, products: int) -> None:
        refuse(point.function)
        assert point.function.split is not None
        self.g, self.products, self.spent = point.gradient, products, 0
        self.G = gauss_newton(*point.function.split, point.x)
        self.spectrum: tuple[Tensor, Tensor] | None = None
        n = len(point.x)
        if n <= dense:
            matrix = dense_gauss_newton(self.G)
            self.spent += PRODUCT * n
            λ, V = torch.linalg.eigh(torch.where(matrix.isfinite().all(), matrix, torch.zeros_like(matrix)))
            self.spectrum = λ.clamp(min=0), V

    def __call__(self, damping: float) -> Tensor:
        if self.spectrum is not None:
            λ, V = self.spectrum
            return V @ ((V.T @ self.g) / (λ + damping))
        found = conjugate.solve(self.G, self.g, damping, tol=TOL, most=self.products)
        self.spent += PRODUCT * found.products
        return found.x


def refuse(function: Function) -> None:
    """UserError where a function is no loss of something."""
    if function.split is None:
        raise UserError(
            f"{function.name} has no Gauss-Newton matrix: that takes a network, and a loss that curves in its outputs. "
            "Type optimizer=damped_newton"
        )


@dataclass(frozen=True, kw_only=True)
class GaussNewton(schema.optimizer.GaussNewton, Counting):
    """(G + λ I) s = -g, x_{k+1} = x_k + lr s (Levenberg 1944, Marquardt 1963): λ is four times as large until the loss
    falls enough, and a quarter when it did at once."""

    def admit(self, function: Function) -> None:
        """UserError where this rule cannot walk on ``function``."""
        refuse(function)

    def init(self, x: Tensor) -> State:
        return {"damping": x.new_tensor(self.damping), "spent": counter(x)}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        solve = Solver(point, self.dense, self.products)
        move, damping, trials = search(point, lambda damping: solve(float(damping)) * -lr, state["damping"])
        return move, {"damping": damping, "spent": state["spent"] + solve.spent + trials}


@dataclass(frozen=True, kw_only=True)
class NaturalGradient(schema.optimizer.NaturalGradient, Counting):
    """x_{k+1} = x_k - lr (F + λ I)⁻¹ g (Amari 1998), F = G the Fisher matrix for cross-entropy and squared errors (up
    to the scale of the noise). λ is constant, and nothing is tried out: lr is the user's to choose."""

    def admit(self, function: Function) -> None:
        """UserError where this rule cannot walk on ``function``."""
        refuse(function)

    def init(self, x: Tensor) -> State:
        return {"spent": counter(x)}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        solve = Solver(point, self.dense, self.products)
        return solve(self.damping) * -lr, {"spent": state["spent"] + solve.spent}
