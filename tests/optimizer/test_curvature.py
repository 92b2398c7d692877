"""Gauss-Newton and the natural gradient, on networks."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data, Function, Point, Rule
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import admit, spent
from calclab.optimizer.curvature import GaussNewton, NaturalGradient
from calclab.optimizer.line_search import Armijo
from calclab.optimizer.rules import GradientDescent
from calclab.subject.network import Network, network


def data(classes: int | None) -> Data:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    if classes is None:
        targets = (inputs @ torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.3, 0.0]]).double()).sin()
        return Data("numbers", inputs, targets, ("a", "b", "c"), ("u", "v"), False)
    names = tuple(map(str, range(classes)))
    return Data("classes", inputs, torch.arange(30) % classes, ("a", "b", "c"), names, True)


def made(layers: str, loss: str, classes: int | None = None) -> Network:
    outputs = classes or 2
    linear = functools.partial(nn.Linear, 3, outputs)
    deep = functools.partial(nn.Sequential, nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs))
    build = linear if layers == "linear" else deep
    return network(build, data(classes), name="net", loss=loss, train=0, seed=1)


def walk(rule: Rule, f: Function, lr: float, steps: int) -> tuple[Tensor, list[float], int]:
    x, state, losses = f.start, rule.init(f.start), []
    for _ in range(steps):
        loss, g = loss_and_gradient(f, x)
        losses.append(float(loss))
        move, state = rule.update(Point(x, loss, g, f), state, lr)
        x = x + move
    return x, losses, spent(rule, state)


GN = GaussNewton(damping=1e-3, dense=2000, products=100)


def test_one_step_solves_linear_least_squares() -> None:
    """A linear network with a squared error: G is the Hessian, and a step with no damping is the solution."""
    net = made("linear", "half_mse")
    f = net.objective()
    rule = NaturalGradient(damping=1e-300, dense=2000, products=100)
    x, _, _ = walk(rule, f, 1.0, 1)
    rows = torch.cat([net.rows, torch.ones(30, 1).double()], dim=1)
    solution = torch.linalg.lstsq(rows, net.data.targets).solution
    assert torch.allclose(net.unflatten(x)["weight"], solution[:3].T, atol=1e-10)
    assert torch.allclose(net.unflatten(x)["bias"], solution[3], atol=1e-10)


@pytest.mark.parametrize(
    ("loss", "classes"), [("mse", None), ("huber", None), ("half_mse", None), ("cross_entropy", 3)]
)
def test_gauss_newton_goes_downhill_and_outruns_gradient_descent(loss: str, classes: int | None) -> None:
    f = made("deep", loss, classes).objective()
    x, losses, used = walk(GN, f, 1.0, 15)
    assert all(b <= a * (1 + 1e-14) for a, b in itertools.pairwise(losses))
    assert losses[-1] < walk(GradientDescent(), f, 0.1, 45)[1][-1]
    assert used >= 15 * 3 * len(x)


@pytest.mark.parametrize("kind", [GaussNewton, NaturalGradient])
def test_conjugate_gradients_take_the_path_of_the_dense_matrix(kind: type) -> None:
    f = made("deep", "cross_entropy", 3).objective()
    dense = kind(damping=0.1, dense=2000, products=100)
    sparse = kind(damping=0.1, dense=0, products=300)
    assert torch.allclose(walk(dense, f, 0.5, 6)[0], walk(sparse, f, 0.5, 6)[0], atol=1e-7)


def test_the_natural_gradient_is_that_of_the_fisher_matrix() -> None:
    """F = mean over rows and classes of p ∇log p ∇log pᵀ (Amari 1998)."""
    net = made("deep", "cross_entropy", 3)
    f = net.objective()
    fisher = torch.zeros(len(f.start), len(f.start)).double()
    scores = torch.func.jacrev(lambda θ: net.evaluate(net.data.inputs, net.unflatten(θ)).log_softmax(1))(f.start)
    p = net.evaluate(net.data.inputs, net.unflatten(f.start)).softmax(1)
    fisher = torch.einsum("bc,bci,bcj->ij", p, scores, scores) / 30
    _, g = loss_and_gradient(f, f.start)
    expected = torch.linalg.solve(fisher + 0.01 * torch.eye(len(g)).double(), g)
    rule = NaturalGradient(damping=0.01, dense=2000, products=100)
    assert torch.allclose(walk(rule, f, 1.0, 1)[0] - f.start, -expected, rtol=1e-8, atol=1e-11)


def test_what_has_no_gauss_newton_matrix_is_refused() -> None:
    plain = Function("bowl", lambda x: (x * x).sum(), torch.ones(2).double(), ("x", "y"))
    for f in (plain, made("linear", "mae").objective(), made("linear", "sum").objective()):
        with pytest.raises(UserError, match="damped_newton"):
            admit(GN, f)
    with pytest.raises(UserError, match="no Gauss-Newton"):
        admit(Armijo(rule=GN, c1=0.1, shrink=0.5, trials=9), plain)
    admit(GradientDescent(), plain)
