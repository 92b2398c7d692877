"""The Gauss-Newton matrix G = Jᵀ H J of f = outer ∘ inner, as an operator: J of the inner map, H of the outer.

Where the outer map is convex (a loss in the outputs of a network) G is positive semidefinite, which the Hessian of f
need not be; it leaves out the curvature of the inner map (Schraudolph 2002). For losses that are negative
log-likelihoods in natural parameters, as cross-entropy and squared errors are, G is the Fisher matrix (Martens 2020,
section 9.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.numerics.operators import Call, LinearOperator, hessian, jacobian


def gauss_newton(inner: Call, outer: Call, x: Tensor) -> LinearOperator:
    """G (n, n) at x (n,): ``inner`` takes x to outputs (m,), ``outer`` these to (). A product costs about three
    gradients; graphs are kept as long as the operator lives."""
    J = jacobian(inner, x)
    with torch.no_grad():
        y = inner(x)
    H = hessian(outer, y)

    def product(V: Tensor) -> Tensor:
        return J.rmatmat(H.matmat(J.matmat(V)))

    return LinearOperator((len(x), len(x)), product, product, True, x.dtype, x.device)


def dense_gauss_newton(G: LinearOperator, block: int = 256) -> Tensor:
    """The matrix (n, n), ``block`` columns at a time (the outputs of all rows are held for each), symmetrised."""
    n = G.shape[1]
    identity = torch.eye(n, dtype=G.dtype, device=G.device)
    matrix = torch.cat([G.matmat(columns) for columns in torch.split(identity, block, dim=1)], dim=1)
    return (matrix + matrix.T) / 2
