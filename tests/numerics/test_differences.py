"""Difference quotients: their orders, and how Richardson's own error estimate fares."""

from __future__ import annotations

from math import log2

import pytest
import torch
from torch import Tensor

from calclab.numerics.differences import central, forward, richardson

X = torch.tensor([0.7, -1.3, 0.2], dtype=torch.float64)
V = torch.tensor([0.3, 0.5, -1.1], dtype=torch.float64)


def f(x: Tensor) -> Tensor:
    return torch.exp(x[0]) * torch.sin(x[1]) + x[2] ** 3


def slope(x: Tensor, v: Tensor) -> Tensor:
    g = torch.stack([torch.exp(x[0]) * torch.sin(x[1]), torch.exp(x[0]) * torch.cos(x[1]), 3 * x[2] ** 2])
    return g @ v


@pytest.mark.parametrize(("quotient", "order"), [(forward, 1), (central, 2)])
def test_errors_fall_with_their_order(quotient, order: int) -> None:  # type: ignore[no-untyped-def]
    errors = [float((quotient(f, X, V, h) - slope(X, V)).abs()) for h in (2.0**-5, 2.0**-6)]
    assert log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_richardson_is_within_ten_times_its_estimate(scale: float, shift: float) -> None:
    estimate, error = richardson(lambda x: scale * f(x) + shift, X, V)
    gap = (estimate - scale * slope(X, V)).abs()
    assert gap <= 10 * error
    assert error <= 1e-7 * scale


def test_richardson_takes_arrays_and_follows_the_dtype() -> None:
    x = torch.tensor([0.5, 2.0], dtype=torch.float32)
    estimate, error = richardson(lambda z: torch.stack([z.sin(), z**2]), x, torch.ones_like(x))
    assert estimate.dtype == torch.float32
    assert estimate.shape == error.shape == (2, 2)
    torch.testing.assert_close(estimate, torch.stack([x.cos(), 2 * x]), rtol=1e-3, atol=1e-3)


def test_small_steps_overrule_large_ones_that_agree_by_chance() -> None:
    """A narrow bump: far out all quotients are 0 and agree, near by they see the slope."""
    x = torch.tensor([0.3005], dtype=torch.float64)
    estimate, error = richardson(lambda z: torch.exp(-((z - 0.3) ** 2) * 1e6).sum(), x, torch.ones_like(x))
    exact = float(-2e6 * 5e-4 * torch.exp(torch.tensor(-0.25, dtype=torch.float64)))
    assert float(estimate) == pytest.approx(exact, rel=1e-6)
    assert float(error) < 1e-3 * abs(exact)
