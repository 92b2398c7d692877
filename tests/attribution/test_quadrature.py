"""The rules integrate polynomials of their degree exactly, and visibly miss the next even one."""

from __future__ import annotations

import math

import pytest
import torch

from calclab.attribution.quadrature import kronrod, legendre

PLACE = (torch.float64, torch.device("cpu"))


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_gauss_legendre(n: int) -> None:
    x, w = legendre(n, *PLACE)
    for j in range(2 * n):
        assert float(w @ x**j) == pytest.approx(1 / (j + 1), rel=1e-14)
    missed = math.factorial(n) ** 4 / (
        (2 * n + 1) * math.factorial(2 * n) ** 2
    )  # of the first power it is not exact for
    assert 1 / (2 * n + 1) - float(w @ x ** (2 * n)) == pytest.approx(missed, rel=1e-9, abs=1e-15)


def test_kronrod_and_gauss() -> None:
    x, (fine, difference) = kronrod(*PLACE)
    assert bool(x.diff().min() > 0)
    for j in range(23):
        assert float(fine @ x**j) == pytest.approx(1 / (j + 1), rel=1e-14)
    for j in range(14):
        assert abs(float(difference @ x**j)) < 1e-15
    assert abs(float(difference @ x**14)) > 1e-10
    coarse = fine - difference
    assert int((coarse.abs() > 1e-15).sum()) == 7


def test_weights_follow_the_dtype() -> None:
    x, w = legendre(8, torch.float32, torch.device("cpu"))
    assert x.dtype == w.dtype == torch.float32
    assert float(w.sum()) == pytest.approx(1, abs=1e-6)
