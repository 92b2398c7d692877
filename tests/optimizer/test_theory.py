"""Theory against iteration: the radius is the rate seen, the limit is where runs begin to diverge, the best is best."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calclab.core import Function, Point, Rule
from calclab.optimizer import theory
from calclab.optimizer.adaptive import Adam
from calclab.optimizer.newton import Newton
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.optimizer.theory import Theory

smallest = st.floats(0.01, 3)
ratios = st.floats(1, 1000)
momenta = st.floats(0, 0.99)
parts = st.floats(0.02, 1.5)


def rules(momentum: float) -> list[Rule]:
    return [GradientDescent(), Momentum(momentum=momentum), Nesterov(momentum=momentum)]


def map_of(rule: Rule, λ: float, lr: float) -> Tensor:
    """The rule's linear map on (x, velocity) for f = ½ λ x², read off from the rule itself."""
    columns = []
    for x, v in ((1.0, 0.0), (0.0, 1.0)):
        at, state = torch.tensor([x]).double(), {"velocity": torch.tensor([v]).double()}
        f = Function("f", lambda x: λ * x[0] ** 2 / 2, at, ("x",))
        move, new = rule.update(Point(at, at, λ * at, f), state, lr)
        columns.append(torch.cat([at + move, new.get("velocity", torch.zeros(1).double())]))
    matrix = torch.stack(columns, dim=1)
    return matrix if not isinstance(rule, GradientDescent) else matrix[:1, :1]


def radius(rule: Rule, λ: float, lr: float) -> float:
    return float(torch.linalg.eigvals(map_of(rule, λ, lr)).abs().max())


def known(rule: Rule, low: float, high: float) -> Theory:
    found: Theory = rule.theory(low, high)  # type: ignore[attr-defined]
    return found


@settings(max_examples=80, deadline=None)
@given(smallest, ratios, momenta, parts)
def test_the_factor_is_the_spectral_radius_over_the_whole_interval(
    low: float, ratio: float, momentum: float, part: float
) -> None:
    high = low * ratio
    for rule in rules(momentum):
        expected = known(rule, low, high)
        lr = part * expected.limit
        inside = [low + (high - low) * i / 12 for i in range(13)]
        assert expected.factor(lr) == pytest.approx(max(radius(rule, λ, lr) for λ in inside), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(smallest, ratios, momenta)
def test_runs_diverge_above_the_limit_and_not_below(low: float, ratio: float, momentum: float) -> None:
    for rule in rules(momentum):
        expected = known(rule, low, low * ratio)
        assert expected.factor(0.999 * expected.limit) < 1 < expected.factor(1.001 * expected.limit)
        assert radius(rule, low * ratio, 1.001 * expected.limit) > 1


@settings(max_examples=50, deadline=None)
@given(smallest, ratios, momenta)
def test_no_rate_is_better_than_the_best(low: float, ratio: float, momentum: float) -> None:
    for rule in rules(momentum):
        expected = known(rule, low, low * ratio)
        assert expected.factor(expected.best_lr) == pytest.approx(expected.best_factor, abs=1e-12)
        others = [expected.factor(expected.limit * i / 200) for i in range(1, 200)]
        assert expected.best_factor <= min(others) + 1e-12


def test_closed_forms() -> None:
    low, high, μ = 0.5, 20.0, 0.8
    κ = high / low
    gd = theory.gradient_descent(low, high)
    assert (gd.limit, gd.best_lr, gd.best_factor) == pytest.approx((2 / high, 2 / (low + high), (κ - 1) / (κ + 1)))
    assert theory.heavy_ball(low, high, μ).limit == pytest.approx(2 * (1 + μ) / high)
    assert theory.nesterov(low, high, μ).limit == pytest.approx((2 + 2 * μ) / ((1 + 2 * μ) * high))
    assert theory.newton().factor(1.0) == 0
    for without in (theory.heavy_ball, theory.nesterov):
        plain = without(low, high, 0.0)
        assert (plain.limit, plain.best_lr, plain.best_factor) == pytest.approx((gd.limit, gd.best_lr, gd.best_factor))


@settings(max_examples=50, deadline=None)
@given(smallest, st.floats(1.1, 1000))
def test_the_pair_of_polyak_is_the_best_of_all_heavy_balls(low: float, κ: float) -> None:
    lr, momentum = theory.polyak(low, low * κ)
    best = theory.heavy_ball(low, low * κ, momentum)
    assert best.best_lr == pytest.approx(lr)
    assert best.best_factor == pytest.approx((math.sqrt(κ) - 1) / (math.sqrt(κ) + 1), rel=1e-6, abs=1e-7)
    for μ in (0.9 * momentum, momentum + 0.1 * (1 - momentum)):
        assert theory.heavy_ball(low, low * κ, μ).best_factor >= best.best_factor - 1e-7


def steps_to(rule: Rule, λ: Tensor, lr: float, ratio: float) -> int:
    """Steps until ‖x‖ is ``ratio`` of the start, on f = ½ Σ λ x²."""
    x, state, k = torch.ones_like(λ), rule.init(λ), 0
    f = Function("f", lambda x: (λ * x * x).sum() / 2, x, tuple(map(str, range(len(λ)))))
    goal = ratio * float(x.norm())
    while float(x.norm()) > goal:
        move, state = rule.update(Point(x, x[0], λ * x, f), state, lr)
        x, k = x + move, k + 1
    return k


@pytest.mark.parametrize("κ", [10.0, 100.0, pytest.param(1e4, marks=pytest.mark.slow)])
def test_steps_of_gradient_descent_and_heavy_ball(κ: float) -> None:
    """Polyak (1964): κ/2 ln(1/ratio) steps against √κ/2 ln(1/ratio), and k ρ^k in place of ρ^k; n = 20, ratio 1e-8.

    Of twenty directions the slowest starts with 1/√20 of the length.
    """
    λ = torch.logspace(0, math.log10(κ), 20, dtype=torch.float64)
    gd = theory.gradient_descent(1, κ)
    assert gd.count(gd.best_lr, 1e-8) == gd.steps(gd.best_factor, 1e-8)
    counted = steps_to(GradientDescent(), λ, gd.best_lr, 1e-8)
    assert gd.count(gd.best_lr, 1e-8 * math.sqrt(20 / 2)) == pytest.approx(counted, abs=1)
    lr, momentum = theory.polyak(1, κ)
    ball = theory.heavy_ball(1, κ, momentum)
    counted = steps_to(Momentum(momentum=momentum), λ, lr, 1e-8)
    assert ball.count(lr, 1e-8 * math.sqrt(20)) == pytest.approx(counted, rel=0.02, abs=1)
    assert ball.steps(ball.best_factor, 1e-8) < counted < gd.steps(gd.best_factor, 1e-8)


@settings(max_examples=60, deadline=None)
@given(smallest, st.floats(1, 50), st.floats(0, 0.95), st.floats(0.05, 0.95))
def test_the_count_is_what_two_directions_take(low: float, ratio: float, momentum: float, part: float) -> None:
    λ = torch.tensor([low, low * ratio], dtype=torch.float64)
    for rule in rules(momentum):
        expected = known(rule, low, low * ratio)
        lr = part * expected.limit
        x, state, sizes = torch.ones(2).double(), rule.init(λ), [1.0]
        f = Function("f", lambda x: (λ * x * x).sum() / 2, x, ("x", "y"))
        count = expected.count(lr, 1e-4)
        for _ in range(int(count) + 1):
            move, state = rule.update(Point(x, x[0], λ * x, f), state, lr)
            x = x + move
            sizes.append(float(x.abs().max()))
        assert max(sizes[-2:]) <= 1e-4 * (1 + 1e-6) + 1e-12
        assert max(sizes[-3:-1]) > 1e-4 * (1 - 1e-6) - 1e-12


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 1.8))
def test_newton_contracts_by_one_minus_lr(lr: float) -> None:
    λ = torch.tensor([0.3, 2.0, 50.0]).double()
    f = Function("f", lambda x: (λ * x * x).sum() / 2, torch.ones(3).double(), ("x", "y", "z"))
    rule = Newton(limit=3)
    move, _ = rule.update(Point(f.start, f.start[0], λ * f.start, f), rule.init(f.start), lr)
    assert torch.allclose((f.start + move).abs(), torch.full((3,), rule.theory(0.3, 50).factor(lr)).double())


def test_what_has_no_theory_says_so() -> None:
    assert not hasattr(Adam(beta1=0.9, beta2=0.9, eps=1e-8), "theory")
    gd = theory.gradient_descent(1, 3)
    assert gd.steps(1.0, 1e-8) == math.inf
    assert gd.steps(0.5, 1.0) == 0
    assert gd.steps(0.5, 0.25) == 2


@pytest.mark.parametrize("k", [1, 2, 5, 17])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_ends_tell_every_step_of_the_walk_there(k: int, momentum: float) -> None:
    """``after(k)`` is the larger of |x_k| and |x_{k+1}| from x_0 = 1, for each of two eigenvalues."""
    λ = torch.tensor([0.5, 3.0]).double()
    f = Function("f", lambda x: (λ * x * x).sum() / 2, torch.ones(2).double(), ("x", "y"))
    for rule in rules(momentum):
        known_ = rule.theory(0.5, 3.0)
        for lr in (0.1, 0.6):
            x, state, sizes = f.start, rule.init(f.start), []
            for _ in range(k + 1):
                move, state = rule.update(Point(x, f.call(x), λ * x, f), state, lr)
                x = x + move
                sizes.append(x.abs())
            expected = torch.maximum(sizes[-1], sizes[-2])
            found = torch.tensor([end.after(k) for end in known_.ends(lr)], dtype=torch.float64)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_shrinking_to_nothing_takes_for_ever() -> None:
    told = theory.gradient_descent(1.0, 4.0)
    assert told.steps(0.5, 0.0) == told.count(0.1, 0.0) == math.inf
