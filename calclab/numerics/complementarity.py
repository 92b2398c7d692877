"""The semidefinite complementarity problem: X that holds a matrix above zero, and pushes only where it must.

    0 ⪯ X  ⊥  S = A + B[X] ⪰ 0,    A (k, k) symmetric, B a symmetric map of such matrices with ⟨X, B[X]⟩ >= 0

(Cohen et al. 2024, appendix on the derivation of the central flow; Cottle, Pang and Stone 2009 for the theory). It says
of X when ½⟨X, B[X]⟩ + ⟨A, X⟩ is least over X ⪰ 0: so projected gradient steps always get on, and Newton's method on

    F(X) = X - Π(X - S(X)),    Π the nearest matrix ⪰ 0: negative eigenvalues become zero

is there in a few steps (F is semismooth: Malick and Sendov 2006 give Π's derivative). ‖F‖ is also what is left to say
of the result: it is zero where and only where all three conditions hold. Cost: k⁶ operations a Newton step.

>>> A, B = torch.tensor([[-3.0]], dtype=torch.float64), torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
>>> found = solve(A, B)  # -3 + 2 X >= 0
>>> float(found.X), float(found.slack), found.residual < 1e-12
(1.5, 0.0, True)
>>> float(solve(-A, B).X)  # nothing to hold
0.0
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ENOUGH = 1e-13  # of ‖F‖, where A and B have size 1
MOST = 300  # steps; Newton's take about five
FALLS = 0.5  # by which a step of Newton's must make ‖F‖ smaller to be taken


class Complement(NamedTuple):
    """X (k, k) ⪰ 0, the ``slack`` S = A + B[X] (k, k), and ``residual`` ‖F‖ for A and B scaled to size 1: 0 where all
    conditions hold, and not small where no X holds S above zero."""

    X: Tensor
    slack: Tensor
    residual: float


def solve(A: Tensor, B: Tensor) -> Complement:
    """Of A (k, k) and B (k, k, k, k), B[X]_ij = Σ B_ijpq X_pq, in float64."""
    k = len(A)
    if k == 1 and bool((A >= 0) | (B.reshape(1, 1) > 0)):  # most often: one number
        X = (-A / B.reshape(1, 1)).clamp(min=0) if bool(A < 0) else torch.zeros_like(A)
        return Complement(X, A + B.reshape(1, 1) * X, 0.0)
    pairs = torch.triu_indices(k, k)
    w = weights(k)  # (m,), m = k(k+1)/2
    a = A[pairs[0], pairs[1]] * w
    b = B[pairs[0], pairs[1]][:, pairs[0], pairs[1]] * w[:, None] * w
    b = (b + b.T) / 2
    size, strength = a.norm(), torch.linalg.matrix_norm(b, 2)
    x = torch.zeros_like(a)
    residual = 0.0
    if size > 0 and float(torch.linalg.eigvalsh(A)[0]) < 0:
        if not strength > 0:
            return Complement(torch.zeros_like(A), A, 1.0)
        scaled, residual = least(a / size, b / strength, k)
        x = scaled * size / strength
    slack = a + b @ x
    return Complement(matrix(x, k), matrix(slack, k), residual)


def least(a: Tensor, b: Tensor, k: int) -> tuple[Tensor, float]:
    """x (m,) and ‖F‖ of a (m,), b (m, m) with ‖b‖ <= 1, for which X - S is a projected gradient step."""
    x = torch.zeros_like(a)
    one = torch.eye(len(a), dtype=a.dtype)
    for _ in range(MOST):
        nearest, slope = projected(x - a - b @ x, k)
        rest = x - nearest
        if float(rest.norm()) <= ENOUGH:
            break
        newton = torch.linalg.lstsq(one - slope @ (one - b), -rest[:, None], driver="gelsd").solution[:, 0]
        ahead = projected(x + newton, k)[0]
        falls = (ahead - projected(ahead - a - b @ ahead, k)[0]).norm() <= FALLS * rest.norm()
        x = ahead if bool(falls) else nearest
    return x, float((x - projected(x - a - b @ x, k)[0]).norm())


def projected(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Π(Z), and its derivative (m, m) there: in Z's eigenvectors entry (i, j) by ω_ij, the share of λ_i and λ_j that is
    above zero."""
    λ, Q = torch.linalg.eigh(matrix(z, k))
    above = λ.clamp(min=0)
    total = λ.abs()[:, None] + λ.abs()
    ω = torch.where(total > 0, (above[:, None] + above) / total.where(total > 0, 1.0), 1.0)
    basis = torch.stack([matrix(e, k) for e in torch.eye(len(z), dtype=z.dtype)])
    turned = Q @ (ω * (Q.T @ basis @ Q)) @ Q.T
    return vector(Q * above @ Q.T, k), torch.stack([vector(part, k) for part in turned], 1)


def weights(k: int) -> Tensor:
    """1 on the diagonal and √2 beside it (m,): so that ⟨X, Y⟩ is the inner product of the vectors."""
    i, j = torch.triu_indices(k, k)
    return torch.where(i == j, 1.0, 2.0).double().sqrt()


def vector(X: Tensor, k: int) -> Tensor:
    """The upper triangle, by its `weights`."""
    i, j = torch.triu_indices(k, k)
    return X[i, j] * weights(k)


def matrix(x: Tensor, k: int) -> Tensor:
    """The symmetric matrix (k, k) whose `vector` is x."""
    i, j = torch.triu_indices(k, k)
    X = x.new_zeros(k, k)
    X[i, j] = X[j, i] = x / weights(k)
    return X
