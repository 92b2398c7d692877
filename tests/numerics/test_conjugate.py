"""Conjugate gradients against a dense solution, and what they spend."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calclab.numerics.conjugate import solve
from calclab.numerics.operators import LinearOperator


def operator(H: Tensor) -> LinearOperator:
    return LinearOperator(tuple(H.shape), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)


def drawn(n: int) -> tuple[Tensor, Tensor]:
    maker = torch.Generator().manual_seed(n)
    B = torch.randn(n, n, dtype=torch.float64, generator=maker)
    return B @ B.T + torch.eye(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64, generator=maker)


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_the_solution_and_its_residual(shift: float) -> None:
    H, b = drawn(12)
    A = operator(H)
    found = solve(A, b, shift, tol=1e-12)
    whole = H + shift * torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(found.x, torch.linalg.solve(whole, b), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.residual, b - whole @ found.x, rtol=0, atol=1e-11)
    assert float(found.residual.norm()) <= 1e-12 * float(b.norm())
    assert found.products == A.products


@pytest.mark.parametrize("most", [1, 3, 5])
def test_no_more_products_than_allowed_and_the_best_of_their_space(most: int) -> None:
    """After k products x is the least of ½xᵀAx - bᵀx over b, Ab, ..., A^(k-1)b."""
    H, b = drawn(9)
    A = operator(H)
    found = solve(A, b, most=most)
    assert found.products == A.products == most
    K = torch.stack([torch.linalg.matrix_power(H, k) @ b for k in range(most)], 1)
    Q, _ = torch.linalg.qr(K)
    torch.testing.assert_close(found.x, Q @ torch.linalg.solve(Q.T @ H @ Q, Q.T @ b), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("λ", [[2.0, -1.0], [-2.0, -1.0], [0.0, 0.0]])
def test_a_direction_without_positive_curvature_ends_it(λ: list[float]) -> None:
    H = torch.diag(torch.tensor(λ, dtype=torch.float64))
    A, b = operator(H), torch.tensor([1.0, 1.0], dtype=torch.float64)
    found = solve(A, b)
    assert found.products == A.products
    torch.testing.assert_close(found.residual, b - H @ found.x)
    assert float(found.x @ H @ found.x / 2 - b @ found.x) <= 0
    assert float(found.x.norm()) == 0 or λ[0] > 0


def test_nothing_asked_is_nothing_spent() -> None:
    A = operator(torch.eye(3, dtype=torch.float64))
    found = solve(A, torch.zeros(3, dtype=torch.float64))
    assert found.products == A.products == 0
    assert float(found.x.norm()) == 0
