"""The largest eigenvalue, within its residual, also in a cluster and from a bad start."""

from __future__ import annotations

import pytest
import torch

from calclab.numerics.lanczos import largest
from calclab.numerics.operators import LinearOperator


def operator(H: torch.Tensor) -> LinearOperator:
    return LinearOperator((len(H), len(H)), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spectrum", ["spread", "cluster", "negative", "zero"])
def test_within_its_residual(spectrum: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(80, 80, dtype=torch.float64, generator=generator))
    λ = {
        "spread": torch.linspace(-3, 5, 80, dtype=torch.float64),
        "cluster": torch.cat([torch.full((40,), 7.0), torch.linspace(0, 1, 40)]).double(),
        "negative": -torch.linspace(1, 2, 80, dtype=torch.float64),
        "zero": torch.zeros(80, dtype=torch.float64),
    }[spectrum]
    H = (Q * λ) @ Q.T
    found = largest(operator(H), torch.randn(80, dtype=torch.float64, generator=generator), tol=1e-8, most=80)
    assert abs(found.value - λ.max()) <= found.residual + 1e-10
    assert found.residual <= 1e-7


def test_a_start_at_the_eigenvector_needs_one_product() -> None:
    H = torch.diag(torch.arange(1.0, 51, dtype=torch.float64))
    found = largest(operator(H), torch.eye(50, dtype=torch.float64)[-1])
    assert found.products == 1
    assert float(found.value) == 50
