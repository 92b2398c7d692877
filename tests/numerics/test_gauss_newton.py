"""The Gauss-Newton matrix is JᵀHJ, and conjugate gradients solve with it."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.numerics import conjugate
from calclab.numerics.gauss_newton import dense_gauss_newton, gauss_newton
from calclab.numerics.operators import LinearOperator

X = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
A = torch.tensor([[1.0, 2.0, -0.5], [0.2, -1.0, 3.0], [1.5, 0.1, 0.4], [-0.7, 0.3, 2.0]], dtype=torch.float64)


def inner(x: Tensor) -> Tensor:
    return (A @ x).tanh() * (1 + x[0])


def outer(y: Tensor) -> Tensor:
    return torch.logsumexp(y, 0) - y[2]


def test_it_is_the_sandwich_of_jacobian_and_hessian() -> None:
    J = torch.func.jacrev(inner)(X)
    H = torch.func.hessian(outer)(inner(X))
    G = gauss_newton(inner, outer, X)
    assert torch.allclose(dense_gauss_newton(G), J.T @ H @ J, rtol=1e-12, atol=1e-14)
    assert torch.allclose(dense_gauss_newton(G, block=2), J.T @ H @ J, rtol=1e-12, atol=1e-14)
    assert torch.allclose(G @ X, J.T @ (H @ (J @ X)), rtol=1e-12, atol=1e-14)
    assert float(torch.linalg.eigvalsh(dense_gauss_newton(G))[0]) > -1e-14


def test_it_is_the_hessian_where_the_inner_map_is_linear() -> None:
    G = dense_gauss_newton(gauss_newton(lambda x: A @ x, outer, X))
    assert torch.allclose(G, torch.func.hessian(lambda x: outer(A @ x))(X), rtol=1e-12, atol=1e-14)


def operator(M: Tensor) -> LinearOperator:
    return LinearOperator((len(M), len(M)), lambda V: M @ V, lambda V: M.T @ V, True, M.dtype, M.device)


def test_conjugate_gradients_end_after_n_products() -> None:
    generator = torch.Generator().manual_seed(3)
    B = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    M, b = B @ B.T, torch.randn(12, generator=generator, dtype=torch.float64)
    found = conjugate.solve(operator(M), b, 0.5, tol=1e-11)
    assert torch.allclose(found.x, torch.linalg.solve(M + 0.5 * torch.eye(12), b), rtol=1e-8)
    assert found.products <= 20
    assert torch.allclose(found.residual, b - (M + 0.5 * torch.eye(12)) @ found.x, atol=1e-10)
    few = torch.diag(torch.tensor([1.0, 1, 1, 5, 5, 5], dtype=torch.float64))
    assert conjugate.solve(operator(few), torch.ones(6).double()).products == 2  # one for each eigenvalue


def test_conjugate_gradients_stop_where_nothing_curves_up() -> None:
    M = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    b = torch.tensor([1.0, 1.5], dtype=torch.float64)
    x = conjugate.solve(operator(M), b).x
    assert float(x @ M @ x) / 2 <= float(b @ x)
    assert conjugate.solve(operator(M), torch.zeros(2).double()).products == 0
