"""Is this the Hessian of my objective: what a wrong one is instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import calclab

X = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def f(x: Tensor) -> Tensor:
    return (x**3).sum() + x[0] * x[1] * x[2]


H = torch.func.hessian(f)
IDENTITY = torch.eye(3, dtype=torch.float64)


def test_a_right_hessian_is_right_in_every_form() -> None:
    for given in (
        {"hessian": H},
        {"hessian": H(X)},
        {"product": lambda x, v: H(x) @ v},
        {"product": lambda v: H(X) @ v},
    ):
        found = calclab.check(f, X, **given)
        assert found.verdict == "consistent", str(found)


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (lambda h: -h, "sign"),
        (lambda h: torch.linalg.inv(h), "inverse"),
        (lambda h: -torch.linalg.inv(h), "inverse and sign"),
        (lambda h: h + 0.1 * IDENTITY, "0.1·I is added"),
        (lambda h: h.diagonal().diag(), "only the diagonal"),
        (lambda h: h.triu(), "only one triangle"),
        (lambda h: 2 * h, "factor 2"),
        (lambda h: h * (1 + 2e-6), "one factor"),
        (lambda h: h + torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]]), "not symmetric"),
        (lambda h: torch.outer(torch.func.grad(f)(X), torch.func.grad(f)(X)), "the outer product"),
    ],
)
def test_what_a_wrong_hessian_is(wrong: Callable[[Tensor], Tensor], cause: str) -> None:
    found = calclab.check(f, X, hessian=wrong(H(X)))
    assert found.verdict == "refuted"
    assert found.cause.startswith(cause)


def test_a_hessian_of_a_function_of_arrays_needs_values_alone() -> None:
    x = X.numpy()
    right = H(X).numpy()
    assert calclab.check(lambda a: (a**3).sum() + a.prod(), x, hessian=right).verdict == "consistent"
    assert calclab.check(lambda a: (a**3).sum() + a.prod(), x, hessian=1.0001 * right).verdict == "refuted"


def network() -> tuple[nn.Module, Tensor, Tensor]:
    maker = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=maker, dtype=torch.float64))
    draw = torch.randn(20, 6, generator=maker, dtype=torch.float64)
    return net, draw[:, :4], draw[:, 4:]


def test_gauss_newton_is_told_from_the_hessian_and_a_sum_from_a_mean() -> None:
    net, x, y = network()
    loss = calclab.loss(net, nn.MSELoss(), (x, y))
    hessian, gauss_newton = calclab.curvature(loss), calclab.curvature(loss, "gauss_newton")
    assert calclab.check(loss, hessian=hessian).verdict == "consistent"
    wrong = calclab.check(loss, hessian=gauss_newton)
    assert wrong.verdict == "refuted"
    assert "Gauss-Newton" in wrong.cause
    summed = calclab.check(net, (x, y), criterion=nn.MSELoss(), product=lambda v: 20 * (hessian @ v))
    assert summed.verdict == "refuted"
    assert "20 (rows) times too large" in summed.cause
    negated = calclab.check(loss, product=lambda v: -(hessian @ v))
    assert "sign" in negated.cause
