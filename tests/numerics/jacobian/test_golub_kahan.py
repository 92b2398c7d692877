"""The largest singular values of many matrices at once, by products: against LAPACK's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calclab.numerics.jacobian import Triplets, golub_kahan

torch.set_num_threads(1)


def run(A: Tensor, **more: float) -> Triplets:
    maker = torch.Generator().manual_seed(1)
    start = torch.randn(len(A), A.shape[2], generator=maker, dtype=A.dtype)
    push, pull = (lambda V: (A @ V[:, :, None])[..., 0]), (lambda U: (U[:, None] @ A)[:, 0])
    return golub_kahan(push, pull, start, A.shape[1], **more)


@pytest.mark.parametrize("shape", [(40, 25), (25, 40), (30, 30), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("basis", [60, 10])
def test_the_largest_of_each(shape: tuple[int, int], basis: int) -> None:
    torch.manual_seed(0)
    A = torch.randn(6, *shape, dtype=torch.float64)
    found = run(A, tol=1e-10, basis=basis, top=2)
    σ = torch.linalg.svdvals(A)[:, : found.values.shape[1]]
    torch.testing.assert_close(found.values, σ, rtol=1e-10, atol=0)
    assert bool(found.converged.all())
    for k in range(found.values.shape[1]):
        u, v, s = found.left[..., k], found.right[..., k], found.values[:, k, None]
        torch.testing.assert_close((A @ v[..., None])[..., 0], s * u, rtol=0, atol=1e-8)
        torch.testing.assert_close((u[:, None] @ A)[:, 0], s * v, rtol=0, atol=1e-8)


def test_the_residual_bounds_the_error_and_sigma_is_never_above() -> None:
    """Stopped early, after few products."""
    torch.manual_seed(0)
    A = torch.randn(20, 60, 50, dtype=torch.float64)
    found = run(A, tol=1e-14, most=6)
    σ = torch.linalg.svdvals(A)
    nearest = (σ - found.values).abs().min(1).values
    assert bool((nearest <= found.residuals[:, 0] * (1 + 1e-12)).all())
    assert bool((found.values[:, 0] <= σ[:, 0] * (1 + 1e-14)).all())
    assert not bool(found.converged.all())


def test_a_value_that_occurs_many_times_is_found_as_often() -> None:
    Q = torch.linalg.qr(torch.randn(3, 12, 12, dtype=torch.float64)).Q
    found = run(2.5 * Q, tol=1e-10, top=3)
    torch.testing.assert_close(found.values, torch.full((3, 3), 2.5, dtype=torch.float64))


def test_zero_and_rank_one() -> None:
    A = torch.zeros(2, 5, 4, dtype=torch.float64)
    A[1] = torch.outer(torch.arange(1.0, 6), torch.arange(4.0, 0, -1))
    found = run(A, tol=1e-10)
    torch.testing.assert_close(found.values[:, 0], torch.tensor([0.0, (55 * 30) ** 0.5], dtype=torch.float64))
    assert bool(found.converged.all())


def test_float32_keeps_its_digits() -> None:
    torch.manual_seed(0)
    A = torch.randn(8, 200, 150)
    found = run(A, tol=1e-4)
    σ = torch.linalg.svdvals(A.double())[:, :1]
    torch.testing.assert_close(found.values.double(), σ, rtol=2e-6, atol=0)


def test_the_same_bits_each_time() -> None:
    A = torch.randn(4, 20, 15, dtype=torch.float64)
    assert torch.equal(run(A).values, run(A).values)


@pytest.mark.parametrize("shape", [(9, 5), (5, 9)])
def test_sizes_whose_squares_leave_the_range(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    A = torch.randn(4, *shape, dtype=torch.float64)
    size = torch.tensor([1e-200, 1e200, 1.0, 1e-290], dtype=torch.float64)
    found = run(A * size[:, None, None], tol=1e-10)
    torch.testing.assert_close(found.values[:, 0], torch.linalg.svdvals(A)[:, 0] * size, rtol=1e-10, atol=0)
    assert bool((found.residuals[:, 0] <= 1e-9 * found.values[:, 0]).all())


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_one_that_is_not_finite_spoils_no_other(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    A = torch.randn(3, *shape, dtype=torch.float64)
    A[1, 2, 3] = torch.nan
    σ = run(A).values[:, 0]
    assert bool(σ[1].isnan())
    torch.testing.assert_close(σ[[0, 2]], torch.linalg.svdvals(A[[0, 2]])[:, 0])
