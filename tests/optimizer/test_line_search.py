"""Line searches keep what they promise: the conditions themselves are the tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from calclab.core import Function, Point, Rule
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import spent
from calclab.optimizer.lbfgs import LBFGS
from calclab.optimizer.line_search import Armijo, Trial, Wolfe, between, value_of
from calclab.optimizer.newton import Newton
from calclab.optimizer.rules import GradientDescent, Momentum
from calclab.subject.formula import formula

CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "rosenbrock": lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2,
    "waves": lambda x: x[0].sin() * (2 * x[1]).cos() + 0.1 * (x * x).sum(),
    "walls": lambda x: (x[0] ** 2 / 2 + 3 * x[1] ** 2 - x[0]).exp() + 0.3 * x[1],
    "rational": lambda x: -x[0] / (x[0] ** 2 + 2) + x[1] ** 2,
}
places = st.tuples(st.floats(-2, 2), st.floats(-2, 2))
rates = st.floats(1e-4, 50)


def counting(name: str, at: tuple[float, float]) -> tuple[Function, list[int]]:
    """The function, and how often it was called."""
    calls = [0]

    def call(x: Tensor) -> Tensor:
        calls[0] += 1
        return CALLS[name](x)

    return Function(name, call, torch.tensor(at, dtype=torch.float64), ("x", "y")), calls


def one_step(rule: Armijo | Wolfe, f: Function, lr: float) -> tuple[Tensor, Point, int]:
    loss, g = loss_and_gradient(f, f.start)
    point, state = Point(f.start, loss, g, f), rule.init(f.start)
    move, state = rule.update(point, state, lr)
    return move, point, spent(rule, state)


def ulps(f: Tensor) -> float:
    return 8 * 2.3e-16 * abs(float(f))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CALLS)), places, rates, st.floats(1e-4, 0.9), st.floats(0.1, 0.9))
def test_armijo(name: str, at: tuple[float, float], lr: float, c1: float, shrink: float) -> None:
    rule = Armijo(rule=GradientDescent(), c1=c1, shrink=shrink, trials=400)
    f, calls = counting(name, at)
    move, point, used = one_step(rule, f, lr)
    after, slope = f.call(f.start + move), float(move @ point.gradient)
    assert float(after) <= float(point.loss) + c1 * slope + ulps(point.loss)
    assert used == calls[0] - 3  # what loss_and_gradient and this test have asked, and the trial that was taken
    back = -move / point.gradient / lr  # shrink^j, and one power less had been too long
    if used:
        longer = f.call(f.start + move / shrink)
        assert not float(longer) <= float(point.loss) + c1 * slope / shrink
        assert torch.allclose(back[point.gradient != 0], torch.tensor(shrink**used, dtype=torch.float64), rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CALLS)), places, rates, st.floats(0.1, 0.9))
def test_strong_wolfe(name: str, at: tuple[float, float], lr: float, c2: float) -> None:
    rule = Wolfe(rule=GradientDescent(), c1=1e-4, c2=c2, trials=60)
    f, calls = counting(name, at)
    move, point, used = one_step(rule, f, lr)
    assert used == calls[0] - 2
    length = float((move @ move).sqrt())
    if length == 0:
        assert float(point.gradient.norm()) < 1e-6
        return
    after, gradient = loss_and_gradient(f, f.start + move)
    slope = float(move @ point.gradient)
    assert slope < 0
    assert float(after) <= float(point.loss) + 1e-4 * slope + ulps(point.loss)
    assert abs(float(gradient @ move)) <= c2 * abs(slope) * (1 + 1e-9)


def walk(rule: Rule, f: Function, lr: float, steps: int) -> tuple[list[float], list[float]]:
    """Losses and gradient norms along the way."""
    x, state, losses, sizes = f.start, rule.init(f.start), [], []
    for _ in range(steps + 1):
        loss, g = loss_and_gradient(f, x)
        losses.append(float(loss))
        sizes.append(float(g.norm()))
        move, state = rule.update(Point(x, loss, g, f), state, lr)
        x = x + move
    return losses, sizes


ARMIJO = {"c1": 1e-4, "shrink": 0.5, "trials": 60}
WOLFE = {"c1": 1e-4, "c2": 0.9, "trials": 40}


@pytest.mark.parametrize("name", ["rosenbrock", "waves", "walls"])
@pytest.mark.parametrize("inner", [LBFGS(history=8), Momentum(momentum=0.5), GradientDescent(), Newton(limit=2)])
@pytest.mark.parametrize("kind", [Armijo, Wolfe])
def test_every_step_goes_downhill(name: str, inner: Rule, kind: type) -> None:
    rule = kind(rule=inner, **(ARMIJO if kind is Armijo else WOLFE))
    f, _ = counting(name, (-1.2, 1.0))
    losses, _ = walk(rule, f, 1.0, 40)
    assert all(b <= a + ulps(torch.tensor(a)) for a, b in itertools.pairwise(losses))
    assert losses[-1] < losses[0] - 0.1


def test_lbfgs_with_wolfe_solves_rosenbrock_to_the_last_digits() -> None:
    f, calls = counting("rosenbrock", (-1.2, 1.0))
    rule = Wolfe(rule=LBFGS(history=10), **WOLFE)
    _, sizes = walk(rule, f, 1.0, 45)
    assert min(sizes) < 1e-9
    assert calls[0] < 140


def test_a_direction_uphill_is_replaced() -> None:
    """Newton at a maximum goes up."""
    f = Function("f", lambda x: x[0].cos(), torch.tensor([0.3], dtype=torch.float64), ("x",))
    for rule in (Armijo(rule=Newton(limit=1), **ARMIJO), Wolfe(rule=Newton(limit=1), **WOLFE)):
        move, point, used = one_step(rule, f, 1.0)
        assert float(move) * float(point.gradient) < 0
        assert used >= 1  # the Hessian of the inner rule is counted too


def test_nothing_is_lower_and_nothing_moves() -> None:
    """A gradient that lies: no step can go down along it."""
    f = Function("f", lambda x: x[0] + (x[0] - x[0].detach()) * -3, torch.zeros(1).double(), ("x",))
    for rule in (Armijo(rule=GradientDescent(), **ARMIJO), Wolfe(rule=GradientDescent(), **WOLFE)):
        move, _, used = one_step(rule, f, 1.0)
        assert float(move) == 0
        assert used == rule.trials


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_trials_beyond_the_numbers_are_too_long(value: float) -> None:
    def call(x: Tensor) -> Tensor:
        return torch.where(x[0] < -1, torch.full_like(x[0], value), x[0] ** 2 / 2 + x[0])

    f = Function("f", call, torch.zeros(1).double(), ("x",))
    for rule in (Armijo(rule=GradientDescent(), **ARMIJO), Wolfe(rule=GradientDescent(), **WOLFE)):
        move, _, _ = one_step(rule, f, 30.0)
        assert -1 <= float(move) < 0


@settings(max_examples=300, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3), st.floats(-2, 2), st.floats(0.2, 4))
@example(2, 1.5, 1.5, 0, 2)  # the divisor of equation 3.59 is 0 here, and its numerator too
@example(0, 1, 1, 0, 2.5)  # a parabola
def test_the_cubic_through_two_points_finds_the_minimum_of_a_cubic(
    a: float, b: float, c: float, t: float, w: float
) -> None:
    """Of φ(t) = a (t - m)³ + c (t - m)² its minimum is m, where that lies well inside."""
    m = b

    def look(t: float) -> Trial:
        return Trial(t, a * (t - m) ** 3 + c * (t - m) ** 2, 3 * a * (t - m) ** 2 + 2 * c * (t - m))

    low, high = look(t), look(t + w)
    found = between(low, high)
    assert t <= found <= t + w
    if 0.06 < (m - t) / w < 0.94:
        assert found == pytest.approx(m, abs=1e-5)
    assert between(high, low) == pytest.approx(found, abs=1e-5)


def test_c2_must_be_above_c1() -> None:
    with pytest.raises(UserError, match=r"c2=0\.1 is not above c1=0\.5"):
        Wolfe(rule=GradientDescent(), c1=0.5, c2=0.1, trials=5)


@pytest.mark.parametrize("n", [1, 3])
def test_where_nothing_changes_the_first_step_will_do(n: int) -> None:
    """f = 0 everywhere: f(x + t d) <= f(x) holds with equality at once."""
    x = torch.ones(n, dtype=torch.float64)
    f = Function("f", lambda z: 0 * z.sum(), x, tuple("xyz"[:n]))
    rule = Armijo(rule=GradientDescent(), **ARMIJO)
    _, state = rule.update(Point(x, f.call(x), torch.zeros(n, dtype=torch.float64), f), rule.init(x), 0.5)
    assert int(spent(rule, state)) == 0


@pytest.mark.parametrize("expr", ["(x - 1)**4 + 3", "(x - 1)**2*y + y**2"])
def test_the_value_alone_is_that_of_the_formula(expr: str) -> None:
    f = formula(expr=expr, at=[0.3] if "y" not in expr else [0.3, -2.0])
    assert f.exact is not None
    assert f.exact.lean is not None
    assert value_of(f, f.start) == pytest.approx(float(f.call(f.start)), rel=1e-14)
