"""The complementarity problem: its three conditions, whatever the size and the scale of what is given."""

from __future__ import annotations

import pytest
import torch

from calclab.numerics.complementarity import matrix, projected, solve, vector


def given(k: int, seed: int, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """A (k, k), and B = ⟨T, T⟩ of a random T (k, k, n), as the central flow has it."""
    draw = torch.Generator().manual_seed(seed)
    T = torch.randn(k, k, n, dtype=torch.float64, generator=draw)
    A = torch.randn(k, k, dtype=torch.float64, generator=draw)
    return (A + A.T) / 2, torch.einsum("ijn,pqn->ijpq", T + T.transpose(0, 1), T + T.transpose(0, 1))


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_three_conditions(k: int, scale: float) -> None:
    for seed in range(5):
        A, B = given(k, seed)
        A, B = A * scale, B / scale
        found = solve(A, B)
        size = float(A.norm() * found.X.norm()) or 1.0
        assert torch.allclose(found.slack, A + torch.einsum("ijpq,pq->ij", B, found.X), atol=1e-10 * scale)
        assert float(torch.linalg.eigvalsh(found.X)[0]) >= -1e-10 * float(found.X.norm())
        assert float(torch.linalg.eigvalsh(found.slack)[0]) >= -1e-10 * float(A.norm())
        assert abs(float((found.X * found.slack).sum())) <= 1e-10 * size
        assert found.residual < 1e-10


def test_one_number() -> None:
    A, B = torch.tensor([[-3.0]], dtype=torch.float64), torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    assert solve(A, B).X.item() == 6
    assert solve(-A, B).X.item() == 0


@pytest.mark.parametrize("k", [1, 2])
def test_what_nothing_holds_is_told(k: int) -> None:
    A, B = -torch.eye(k, dtype=torch.float64), torch.zeros(k, k, k, k, dtype=torch.float64)
    assert solve(A, B).residual > 0.1
    B[0, 0, 0, 0] = 1.0
    assert (solve(A, B).residual > 1e-3) == (k > 1)  # of two eigenvalues one is not held


def test_what_need_not_be_held_is_zero() -> None:
    """Two eigenvalues of which one is below: only the other is pushed."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[0, 0, 0] = T[1, 1, 1] = 1.0
    B = torch.einsum("ijn,pqn->ijpq", T, T)
    found = solve(torch.diag(torch.tensor([-2.0, 3.0], dtype=torch.float64)), B)
    assert pytest.approx(torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float64), abs=1e-12) == found.X


def test_no_numbers_give_no_push() -> None:
    assert solve(torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 0, 0, 0, dtype=torch.float64)).X.shape == (0, 0)


def test_vectors_keep_inner_products_and_the_derivative_is_that_of_the_projection() -> None:
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 10, dtype=torch.float64, generator=draw)
    assert vector(matrix(x, 4), 4) == pytest.approx(x)
    assert float((matrix(x, 4) * matrix(y, 4)).sum()) == pytest.approx(float(x @ y))
    slope, h = projected(x, 4)[1], 1e-6
    measured = (projected(x + h * y, 4)[0] - projected(x - h * y, 4)[0]) / (2 * h)
    assert slope @ y == pytest.approx(measured, abs=1e-8)
