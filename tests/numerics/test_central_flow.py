"""The central flow: closed forms where there are some, its order, and that the sharpness is held."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from calclab.numerics import central_flow
from calclab.numerics.central_flow import begin, iterate, look, spectrum, third_derivatives
from calclab.numerics.operators import dense_hessian, value_and_gradient

Call = Callable[[Tensor], Tensor]


def follow(call: Call, start: list[float] | Tensor, lr: float, steps: int, substeps: int = 4) -> central_flow.Moved:
    at = begin(call, torch.as_tensor(start, dtype=torch.float64), lr)
    for _ in range(steps):
        at = iterate(call, lr, substeps, at)
    return at


def cycle(c: float, goal: float) -> Call:
    """f = y x²/2 + c (y - goal)²/2: along x as sharp as y is large."""
    return lambda p: p[1] * p[0] ** 2 / 2 + c * (p[1] - goal) ** 2 / 2


def valley(p: Tensor) -> Tensor:
    """Two directions, as sharp as two others are large, which push each other along as well."""
    a, b = p[2] + 0.1 * p[3], p[3] - 0.2 * p[2]
    return (a * p[0] ** 2 + b * p[1] ** 2) / 2 - 3 * p[2] - 2 * p[3] + 0.05 * p[2] ** 2


def test_third_derivatives_are_those_of_the_hessian() -> None:
    def f(p: Tensor) -> Tensor:
        return torch.tanh(p[0] * p[1] + p[2]) * p[3] ** 2 + (p**4).sum()

    x = torch.tensor([0.3, -0.7, 0.5, 1.1], dtype=torch.float64)
    U = torch.linalg.qr(torch.arange(8.0, dtype=torch.float64).reshape(4, 2).cos())[0]
    g, T = third_derivatives(f, x, U)
    assert g == pytest.approx(value_and_gradient(f, x)[1])
    h = 1e-5
    for i, e in enumerate(torch.eye(4, dtype=torch.float64)):
        slope = U.T @ (dense_hessian(f, x + h * e) - dense_hessian(f, x - h * e)) @ U / (2 * h)
        assert T[:, :, i] == pytest.approx(slope, abs=1e-8)


def test_the_cycle_of_two_that_gradient_descent_ends_in() -> None:
    """There ∇f + ½ ∇⟨H, Σ⟩ = 0 at x = 0, y = 2/lr, so that Σ = 2 c (goal - 2/lr) along x: x² of the cycle."""
    lr, c, goal = 0.1, 10.0, 21.0
    found = follow(cycle(c, goal), [0.5, 19.0], lr, 30)
    assert found.x == pytest.approx(torch.tensor([0.0, 2 / lr]), abs=1e-9)
    assert float(found.variance) == pytest.approx(2 * c * (goal - 2 / lr), rel=1e-9)
    x = torch.tensor([0.5, 19.0], dtype=torch.float64)
    for _ in range(200):
        x = x - lr * value_and_gradient(cycle(c, goal), x)[1]
    assert float(x[0] ** 2) == pytest.approx(float(found.variance), rel=1e-9)


def test_below_the_edge_it_is_gradient_flow() -> None:
    λ = torch.tensor([1.0, 5.0], dtype=torch.float64)
    found = follow(lambda p: (λ * p * p).sum() / 2, [1.0, 1.0], 0.1, 10, substeps=64)
    assert found.x == pytest.approx((-λ * 0.1 * 10).exp(), rel=1e-4)
    assert float(found.variance) == 0 == float(found.push.norm())


@pytest.mark.parametrize("start", [[0.0, 0.0, 18.0, 20.0], [0.0, 0.0, 17.9, 15.0]])
def test_the_order_is_two_also_over_the_edge(start: list[float]) -> None:
    """Where the sharpness is held from the start on, and where it is only reached on the way."""
    lr, steps = 0.09, 12
    exact = follow(valley, start, lr, steps, 64).x
    errors = [float((follow(valley, start, lr, steps, n).x - exact).norm()) for n in (4, 8, 16)]
    assert 0 < errors[2] < errors[0] < 1e-2
    assert math.log2(errors[0] / errors[2]) / 2 > 1.6


def test_two_eigenvalues_are_held_at_once() -> None:
    lr = 0.09
    found = follow(valley, [0.0, 0.0, 20.0, 22.0], lr, 60)
    λ = torch.linalg.eigvalsh(dense_hessian(valley, found.x))
    assert λ[-2:] * lr / 2 == pytest.approx(torch.ones(2), abs=1e-3)
    assert float(found.highest) * lr / 2 < 1.01
    assert found.residual < 1e-10


def test_on_average_the_push_is_what_an_oscillation_does() -> None:
    """E ∇f(w + δ) = ∇f(w) + ½ ∇⟨H, Σ⟩ exactly, f being of degree three, for δ = ±√X u."""
    lr = 0.1
    at = look(valley, torch.tensor([0.1, 0.2, 19.0, 5.0], dtype=torch.float64), lr)
    (u,), X = at.vectors.T, 0.7
    w = torch.tensor([0.1, 0.2, 19.0, 5.0], dtype=torch.float64)
    mean = sum(value_and_gradient(valley, w + side * X**0.5 * u)[1] for side in (-1, 1)) / 2
    assert mean == pytest.approx(at.gradient + X * at.third[0, 0] / 2, rel=1e-12)


def test_what_no_oscillation_holds_is_told() -> None:
    """The sharpness of this one rises with time, whatever is done along x."""
    assert follow(lambda p: p[0] ** 2 * 11, [1.0, 0.0], 0.1, 2).residual > 0.1


def test_many_variables_are_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eigenpairs found by products in place of the matrix."""
    dense = follow(valley, [0.0, 0.0, 20.0, 22.0], 0.09, 12).x
    monkeypatch.setattr(central_flow, "DENSE", 0)
    assert follow(valley, [0.0, 0.0, 20.0, 22.0], 0.09, 12).x == pytest.approx(dense, abs=1e-6)
    λ, V = spectrum(valley, dense, 0.09)
    assert V.shape == (4, len(λ))
    assert len(λ) >= 3  # both at the edge, and one more
    assert bool((λ.diff() >= 0).all())
