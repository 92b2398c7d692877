"""Condition numbers with bounds, inertia, rank: closed forms, and matrices that are singular in exact arithmetic."""

from __future__ import annotations

from math import inf

import pytest
import torch
from torch import Tensor

from calclab.core import Ball
from calclab.numerics import spectrum
from calclab.numerics.spectrum import condition_of_eigenvalues, condition_of_singular_values, inertia, rank


def eigenvalues(rows: list[list[float]]) -> Tensor:
    return torch.linalg.eigvalsh(torch.tensor(rows, dtype=torch.float64))


def test_bowl_of_the_notebook() -> None:
    found = condition_of_eigenvalues(eigenvalues([[1.0, 0.5], [0.5, 2.0]]))
    exact = (3 + 2**0.5) / (3 - 2**0.5)
    assert found.low <= exact <= found.high
    assert found.value == pytest.approx(exact, rel=1e-14)
    assert found.text(100) == f"{exact:.6g}: well-conditioned (threshold 100)"
    assert "ill-conditioned" in found.text(2)


def test_indefinite_matrices_have_the_condition_of_their_sizes() -> None:
    assert condition_of_eigenvalues(torch.tensor([-8.0, 2.0], dtype=torch.float64)).value == 4


def test_softmax_hessian_is_singular_and_says_so() -> None:
    """The Hessian of log-sum-exp sends (1, ..., 1) to 0: κ is infinite, and float64 finds some random 1e16."""
    p = torch.softmax(torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64), 0)
    λ = torch.linalg.eigvalsh(torch.diag(p) - p[:, None] * p)
    found = condition_of_eigenvalues(λ)
    assert found.singular
    assert found.high == inf
    assert found.low > 1e13
    assert "at least" in found.text(100)
    assert "singular to working precision" in found.text(100)


def test_hilbert_12_is_not_known_in_float64_and_is_with_a_proof() -> None:
    n = 12
    hilbert = torch.tensor([[1 / (i + j + 1) for j in range(n)] for i in range(n)], dtype=torch.float64)
    found = condition_of_eigenvalues(torch.linalg.eigvalsh(hilbert))
    assert found.singular
    assert found.low < 1.7132e16
    ball = Ball(torch.tensor([1e-16, 1.7132], dtype=torch.float64), torch.tensor([1e-24, 1e-10], dtype=torch.float64))
    proven = condition_of_eigenvalues(torch.tensor([2e-16, 1.7132], dtype=torch.float64), ball)
    assert not proven.singular
    assert proven.low <= 1.7132e16 <= proven.high
    assert proven.value == pytest.approx(1.7132e16)


def test_a_ball_that_proves_nothing_is_not_used() -> None:
    nothing = Ball(torch.zeros(2, dtype=torch.float64), torch.full((2,), inf, dtype=torch.float64))
    assert condition_of_eigenvalues(torch.tensor([1.0, 4.0], dtype=torch.float64), nothing).value == 4


def test_zero_and_not_finite() -> None:
    assert condition_of_eigenvalues(torch.zeros(3, dtype=torch.float64)).singular
    found = condition_of_singular_values(torch.tensor([float("nan"), 1.0]))
    assert "undefined" in found.text(100)


@pytest.mark.parametrize(
    ("values", "word", "curvature"),
    [
        ([1.0, 2.0], "minimum", "positive definite"),
        ([-3.0, -0.1], "maximum", "negative definite"),
        ([-1e-3, 5.0], "saddle", "indefinite"),
        ([1e-17, 5.0], "degenerate", "positive semidefinite"),
        ([-5.0, -1e-17], "degenerate", "negative semidefinite"),
        ([-1.0, 0.0, 1.0], "saddle", "indefinite"),
        ([0.0, 0.0], "degenerate", "zero"),
    ],
)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e30])
def test_inertia_does_not_depend_on_scale(values: list[float], word: str, curvature: str, scale: float) -> None:
    found = inertia(scale * torch.tensor(values, dtype=torch.float64))
    assert (found.word, found.curvature) == (word, curvature)
    assert found.negative + found.zero + found.positive == len(values)


def test_rank() -> None:
    A = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    M = A @ A[:4].T
    assert rank(torch.linalg.svdvals(M), (6, 4)) == 2
    assert rank(torch.linalg.svdvals(1e-200 * M), (6, 4)) == 2
    assert rank(torch.zeros(3), (3, 3)) == 0


def test_eigenpairs_put_the_matrix_together_again() -> None:
    raw = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    H = spectrum.symmetric(raw)
    assert torch.equal(H, H.T)
    assert torch.allclose(H + (raw - raw.T) / 2, raw)
    λ, V = spectrum.eigen(H)
    assert bool((λ.diff() >= 0).all())
    assert torch.allclose(V @ λ.diag() @ V.T, H, atol=1e-12)
    assert torch.allclose(spectrum.eigenvalues_of(H), λ, atol=1e-12)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_matrix_that_is_not_finite_has_nan_for_eigenvalues(bad: float) -> None:
    H = torch.eye(3, dtype=torch.float64)
    H[0, 2] = H[2, 0] = bad
    for found in (*spectrum.eigen(H), spectrum.eigenvalues_of(H)):
        assert bool(found.isnan().all())
