"""Conjugate gradients: A x = b by products alone, for symmetric positive definite A (Hestenes and Stiefel 1952).

x_k minimises ½ xᵀAx - bᵀx over span{b, Ab, ..., A^{k-1}b}: with r = b - A x and p_0 = r_0,

    α = rᵀr / pᵀAp,   x <- x + α p,   r <- r - α A p,   p <- r + (r_newᵀr_new / rᵀr) p

It ends after as many steps as A has different eigenvalues, in exact arithmetic; the error in the A-norm falls at least
like 2 ((√κ - 1)/(√κ + 1))^k (Golub and Van Loan, section 11.3). One product a step, four vectors of memory.

>>> from calclab.numerics.operators import hessian
>>> A = torch.diag(torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))  # two different eigenvalues: two steps
>>> found = solve(hessian(lambda x: x @ A @ x / 2, torch.zeros(3, dtype=torch.float64)), A.sum(1))
>>> found.products, torch.allclose(found.x, torch.ones(3, dtype=torch.float64))
(2, True)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from calclab.numerics.operators import LinearOperator


class Solution(NamedTuple):
    """x (n,), the residual b - A x (n,), and the products A p spent."""

    x: Tensor
    residual: Tensor
    products: int


def solve(A: LinearOperator, b: Tensor, shift: float = 0.0, *, tol: float = 1e-10, most: int = 100) -> Solution:
    """(A + shift I) x = b from x = 0, until ‖b - A x‖ <= ``tol`` ‖b‖ or ``most`` products are spent.

    A direction without positive curvature ends it, so that x always goes downhill on ½ xᵀAx - bᵀx.
    """
    x, r = torch.zeros_like(b), b
    p, rr = r, r @ r
    goal = tol * tol * rr
    for products in range(most):
        if bool(rr <= goal):
            return Solution(x, r, products)
        Ap = A @ p + shift * p
        curvature = p @ Ap
        if not bool(curvature > 0):
            return Solution(x, r, products + 1)
        step = rr / curvature
        x, r = x + step * p, r - step * Ap
        rr, before = r @ r, rr
        p = r + rr / before * p
    return Solution(x, r, most)
