"""The algebra of operators against that of matrices, lanes and counting with it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.numerics.linear import LinearOperator
from calclab.numerics.operators import dense_hessian, hessian, jacobian


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of(M: Tensor) -> LinearOperator:
    symmetric = M.shape[0] == M.shape[1] and torch.equal(M, M.T)
    m, n = M.shape
    return LinearOperator((m, n), lambda V: M @ V, lambda U: M.T @ U, symmetric, M.dtype, M.device)


M, N, S = draw(4, 3), draw(4, 3, seed=1), draw(3, 5, seed=2)
Q = draw(4, 4, seed=3)
Q = Q + Q.T


def same(A: LinearOperator, expected: Tensor) -> None:
    torch.testing.assert_close(A.dense(), expected)
    torch.testing.assert_close(A.T.dense(), expected.T)
    v = draw(expected.shape[1], seed=9)
    torch.testing.assert_close(A @ v, expected @ v)
    assert A.shape == tuple(expected.shape)


def test_sums_by_sum_and_quotients() -> None:
    same(sum([of(M), of(N), of(M)]), 2 * M + N)
    same(of(M) / 4, M / 4)
    same(of(M) / torch.tensor(-0.5, dtype=torch.float64), -2 * M)
    with pytest.raises(TypeError):
        1 + of(M)


def test_sums_multiples_and_products() -> None:
    same(of(M) + of(N), M + N)
    same(of(M) - of(N), M - N)
    same(2.5 * of(M), 2.5 * M)
    same(of(M) * torch.tensor(2.5), 2.5 * M)
    same(-of(M), -M)
    same(of(M) @ of(S), M @ S)
    same(of(Q).shift(0.7), Q + 0.7 * torch.eye(4))
    same((of(M) - 3 * of(N)).T @ of(Q).shift(-1.0), (M - 3 * N).T @ (Q - torch.eye(4)))
    assert (of(Q) + 2 * of(Q).shift(1.0)).symmetric
    assert not (of(Q) @ of(Q)).symmetric


def test_blocks() -> None:
    i = torch.tensor([2, 0])
    same(of(Q).sub(i), Q[i][:, i])
    same(of(M).sub(slice(1, 3), torch.tensor([True, False, True])), M[1:3][:, [0, 2]])
    assert of(Q).sub(i).symmetric
    assert not of(Q).sub(i, slice(0, 2)).symmetric
    with pytest.raises(ValueError, match="at most once"):
        of(Q).sub(torch.tensor([1, 1]))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        of(M) + of(Q)
    with pytest.raises(ValueError, match="cannot be multiplied"):
        of(M) @ of(Q)
    with pytest.raises(ValueError, match="not square"):
        of(M).shift(1.0)
    with pytest.raises(ValueError, match="do not go together"):
        of(M) + of(N.float())
    with pytest.raises(TypeError):
        of(M) * of(N)
    with pytest.raises(TypeError):
        of(M) + 1


def test_products_are_counted_by_columns() -> None:
    A = of(Q)
    A @ draw(4), A @ draw(4, 3), A.T @ draw(4, 2)
    assert A.products == 6
    B = A.shift(1.0)
    B @ draw(4, 5)
    assert (A.products, B.products) == (11, 5)
    A.dense()
    assert A.products == 15


def quartic(x: Tensor) -> Tensor:
    return (x**4).sum() + (Q @ x).sin().sum()


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_lanes_go_through_the_algebra(lanes: int) -> None:
    x = draw(4, seed=5)
    A, H = hessian(quartic, x), dense_hessian(quartic, x)
    made = (2 * A.shift(0.5).sub(slice(0, 3))).with_lanes(lanes)
    assert made.lanes == lanes
    same(made, 2 * (H + 0.5 * torch.eye(4))[:3, :3])
    B = A.with_lanes(lanes)
    B @ draw(4)
    A @ draw(4)
    assert A.products == B.products
    assert (A + A).T.with_lanes(lanes).lanes == lanes
    J = jacobian(torch.sin, x).with_lanes(lanes)
    same(J, torch.diag(torch.cos(x)))
    assert of(M).with_lanes(lanes).lanes == 0
    with pytest.raises(ValueError, match="lanes=0"):
        A.with_lanes(0)


def test_scipy_goes_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pytest.importorskip("scipy.sparse.linalg")
    A = of(Q)
    λ = sparse.eigsh(A.scipy(), k=2, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(λ), torch.linalg.eigvalsh(Q)[-2:].numpy(), rtol=1e-10)
    U = draw(4, 2).numpy()
    np.testing.assert_allclose(of(M).scipy().rmatmat(U), M.T.numpy() @ U)
    assert of(M.float()).scipy().dtype == np.float32
    assert A.products > 0
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    with pytest.raises(UserError, match="pip install scipy"):
        A.scipy()
