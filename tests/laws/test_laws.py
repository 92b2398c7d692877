"""Laws are held by what does not depend on them: closed forms, identities, other ways to the same number."""

from __future__ import annotations

import math

import pytest
import torch

import calclab
from calclab.errors import UserError
from calclab.laws.base import mean_and_error, slope
from calclab.laws.propagation import Propagation, ratio_of_means
from calclab.numerics import deep_linear, gradient_flow, least_squares, mean_field
from calclab.optimizer.rates import measured, region
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.optimizer.theory import heavy_ball


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the engines ---


def test_the_risk_given_the_rows_is_that_of_estimates() -> None:
    """The mean squared error of pinv(X) y over drawn noise and directions."""
    for n, p in ((30, 12), (12, 30)):
        X = draws(n, p, seed=p)
        bias, variance = least_squares.given_rows(X, signal=2.0, noise=0.5)
        beta = draws(20000, p, seed=1)
        beta = 2.0 * beta / beta.norm(dim=1, keepdim=True)
        y = beta @ X.T + 0.5 * draws(20000, n, seed=2)
        risks = (y @ torch.linalg.pinv(X).T - beta).square().sum(1)
        mean, error = mean_and_error(risks)
        assert abs(float(mean - bias - variance)) <= 4 * float(error)


def test_the_expected_risk_tends_to_its_limit_like_one_over_n() -> None:
    for γ in (0.3, 0.8, 1.25, 3.0):
        told = least_squares.limit_risk(γ, signal=1.0, noise=0.7)
        gaps = [abs(least_squares.expected_risk(n, round(γ * n), signal=1.0, noise=0.7) - told) for n in (1000, 2000)]
        assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.02)
    assert least_squares.limit_risk(1, signal=1.0, noise=1.0) == math.inf
    assert least_squares.expected_risk(10, 11, signal=1.0, noise=1.0) == math.inf


def test_the_flow_of_a_quadratic_is_an_exponential() -> None:
    x, λ = draws(3), torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    found = gradient_flow.flow(lambda x: (λ * x**2).sum() / 2, x, 0.5)
    assert torch.allclose(found, x * torch.exp(-0.5 * λ), rtol=1e-8)
    modified = gradient_flow.flow(lambda x: (λ * x**2).sum() / 2, x, 0.5, rate=0.1)
    assert torch.allclose(modified, x * torch.exp(-0.5 * (λ + 0.05 * λ**2)), rtol=1e-6)


def test_leading_terms_of_the_gaps_are_those_of_the_exponential() -> None:
    """x - ηλx against x e^{-ηλ} and x e^{-η(λ + ηλ²/2)}: η²λ²/2 and η³λ³/3."""
    gap = gradient_flow.step_gap(lambda x: 1.5 * x[0] ** 2, torch.tensor([2.0], dtype=torch.float64), 1e-3)
    assert float(gap.flow_theory) == pytest.approx(2 * (3e-3) ** 2 / 2)
    assert float(gap.modified_theory) == pytest.approx(2 * (3e-3) ** 3 / 3)
    assert float(gap.modified) == pytest.approx(float(gap.modified_theory), rel=0.01)


def test_third_derivatives_enter_the_gap() -> None:
    """f = x³/3 at 1: g = 1, H = 2, T[g, g] = 2, so that H²g/3 + T/12 = 3/2."""
    gap = gradient_flow.step_gap(lambda x: x[0] ** 3 / 3, torch.tensor([1.0], dtype=torch.float64), 1e-2)
    assert float(gap.modified_theory) == pytest.approx(1.5e-6)


def test_a_linear_function_has_no_gap() -> None:
    gap = gradient_flow.step_gap(lambda x: 3 * x[0], torch.tensor([1.0], dtype=torch.float64), 0.1)
    assert float(gap.flow) <= 1e-14
    assert float(gap.modified_theory) == 0


def test_modes_solve_their_equation_and_have_half_in_their_time() -> None:
    s, t = torch.tensor([0.5, 3.0], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for i in range(2):
        a = deep_linear.mode_strength(s, 0.01, t)[i]
        (rate,) = torch.autograd.grad(a, t)
        assert float(rate) == pytest.approx(float((2 * a * (s[i] - a)).detach()), rel=1e-10)
    half = deep_linear.half_time(s, 0.01)
    assert torch.allclose(deep_linear.mode_strength(s, 0.01, half), s / 2)
    assert bool(deep_linear.mode_strength(s, 0.01, 1e6).isfinite().all())


def test_relu_means_agree_with_samples_and_quadrature_with_closed_forms() -> None:
    u = draws(400000, seed=3)
    v = 0.6 * u + 0.8 * draws(400000, seed=4)
    found = mean_field.moments("relu", 2.0, 0.6)
    root = 2**0.5
    pairs = {
        found.product: torch.relu(root * u) * torch.relu(root * v),
        found.slope_product: ((u > 0) & (v > 0)).double(),
    }
    for told, samples in pairs.items():
        mean, error = mean_and_error(samples)
        assert abs(float(mean) - told) <= 4 * float(error)
    sigmoid = mean_field.moments("sigmoid", 1.5, 0.3)
    mean, error = mean_and_error(torch.sigmoid(1.5**0.5 * u).square())
    assert abs(float(mean) - sigmoid.square) <= 4 * float(error)
    with pytest.raises(UserError, match="no activation elu"):
        mean_field.moments("elu", 1.0, 0.0)


@pytest.mark.parametrize("rule", [Momentum(momentum=0.0), Nesterov(momentum=0.0)])
def test_long_walks_shrink_by_the_largest_root(rule: object) -> None:
    λ = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)
    lrs, momenta = torch.linspace(0.02, 0.4, 7, dtype=torch.float64), torch.tensor([0.0, 0.4, 0.9], dtype=torch.float64)
    found = measured(rule, λ, lrs, momenta, 2000)
    for i, momentum in enumerate(momenta):
        theory = type(rule)(momentum=float(momentum)).theory(1.0, 10.0)  # type: ignore[call-arg]
        for j, lr in enumerate(lrs):
            assert float(found[i, j]) == pytest.approx(theory.factor(float(lr)), rel=2 * math.log(2) / 1000)


def test_regions_are_those_of_the_roots() -> None:
    ends = heavy_ball(1.0, 1.0, 0.25).ends
    assert [region(ends(lr)) for lr in (0.1, 1.0, 2.4, 3.0)] == ["monotone", "oscillating", "alternating", "diverging"]


def test_slopes_and_ratios_of_means() -> None:
    x = torch.tensor([1.0, 2.0, 4.0])
    assert float(slope(x, 7 * x**-1.5)) == pytest.approx(-1.5)
    a, b = draws(5000, seed=5), draws(5000, seed=6)
    c = 0.5 * a + 0.75**0.5 * b
    ratio, error = ratio_of_means(torch.stack([a * a, c * c, a * c], 1))
    assert abs(float(ratio) - 0.5) <= 4 * float(error)
    assert float(error) == pytest.approx(0.75 / 5000**0.5, rel=0.1)  # (1 - ρ²)/√n of a correlation


# --- the laws, by their question ---


def layered(activation: type[torch.nn.Module] | None = None, bias: bool = False) -> torch.nn.Sequential:
    torch.manual_seed(0)
    middle = [] if activation is None else [activation()]
    parts = [torch.nn.Linear(3, 4, bias=bias), *middle, torch.nn.Linear(4, 2, bias=bias)]
    return torch.nn.Sequential(*parts).double()


def test_descent_loses_exactly_the_squares_of_its_gradients() -> None:
    for module in (layered(), layered(torch.nn.ReLU)):
        subject = calclab.loss(module, "half_mse", (draws(20, 3), draws(20, 2, seed=1)))
        found = calclab.law(subject, {"name": "imbalance", "lr": 0.01, "time": 0.2, "halvings": 3})
        assert found.largest_gap_drift <= 1e-9
        assert found.slope_drift == pytest.approx(1, abs=0.05)
        assert found.share_of_bound <= 1


def test_a_saturating_activation_keeps_nothing_and_is_refused() -> None:
    subject = calclab.loss(layered(torch.nn.Tanh), "half_mse", (draws(20, 3), draws(20, 2)))
    with pytest.raises(UserError, match="Tanh"):
        calclab.law(subject, "imbalance")
    subject = calclab.loss(layered(bias=True), "half_mse", (draws(20, 3), draws(20, 2)))
    with pytest.raises(UserError, match="without biases"):
        calclab.law(subject, "imbalance")


def test_modes_follow_their_curve_up_to_the_rate() -> None:
    subject = calclab.loss(layered(), "half_mse", (draws(50, 3), draws(50, 3) @ draws(3, 2, seed=7)))
    gaps = [
        calclab.law(subject, {"name": "modes", "lr": lr, "time": 10.0, "looks": 20}).largest_gap_of_s
        for lr in (0.01, 0.005)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.15)


def test_a_formula_that_is_not_the_limit_is_far_from_the_risk() -> None:
    knobs = {"name": "double_descent", "rows": 60, "ratios": [0.5, 2.0], "draws": 100, "noise": 1.0}
    right = calclab.law(calclab.formula("where(g < 1, g/(1 - g), 1 - 1/g + 1/(g - 1))", at=0.5), knobs)
    wrong = calclab.law(calclab.formula("g", at=0.5), knobs)
    assert right.largest_gap_limit < 0.1 < 0.4 < wrong.largest_gap_limit
    assert right.largest_z_risk == wrong.largest_z_risk <= 4


def test_variances_are_exact_on_average_and_a_bias_is_refused() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 16, bias=False), torch.nn.ReLU(), torch.nn.Linear(16, 16, bias=False), torch.nn.ReLU(),
        torch.nn.Linear(16, 3, bias=False),
    ).double()  # fmt: skip
    subject = calclab.loss(module, "half_mse", (draws(4, 6), draws(4, 3)))
    for weights in ("he", "xavier", "orthogonal"):
        found = calclab.law(subject, {"name": "propagation", "weights": weights, "draws": 400, "correlation": 0.5})
        assert max(found.largest_z_activation_variance, found.largest_z_gradient_variance) <= 4
    with pytest.raises(UserError, match="has a bias"):
        calclab.law(
            calclab.loss(layered(torch.nn.ReLU, bias=True), "half_mse", (draws(4, 3), draws(4, 2))), "propagation"
        )


def test_a_network_given_is_left_alone() -> None:
    module = layered(torch.nn.ReLU)
    before = [p.clone() for p in module.parameters()]
    calclab.law(calclab.loss(module, "half_mse", (draws(4, 3), draws(4, 2))), {"name": "propagation", "draws": 3})
    assert all(bool((a == b).all()) for a, b in zip(before, module.parameters(), strict=True))


def test_momentum_is_asked_of_convex_quadratics_alone() -> None:
    quadratic = calclab.formula("x**2 + 5*y**2", at=[1, 1])
    found = calclab.law(quadratic, {"name": "momentum_rate", "count": 8, "walk": 1000}, optimizer="momentum")
    assert found.misjudged_stability == 0
    assert found.largest_distance_contraction <= 0.005
    with pytest.raises(UserError, match="convex quadratic"):
        calclab.law(calclab.formula("x**4", at=1), "momentum_rate", optimizer="momentum")
    with pytest.raises(UserError, match="a rule with momentum"):
        calclab.law(quadratic, "momentum_rate", optimizer="gd")
    assert not hasattr(GradientDescent(), "momentum")


def test_theory_of_a_skip_is_three_quarters_where_activations_are_uncorrelated() -> None:
    from calclab.network.residual import Residual

    torch.manual_seed(0)
    module = Residual((8,), 2, width=16, depth=1, activation="relu", skip=1.0, branch=1.0).double()
    subject = calclab.loss(module, "half_mse", (draws(4, 8), draws(4, 2)))
    law = Propagation(subject=subject, draws=2, weights="he", gain=1.0, row=0, correlation=0.0)
    assert law.theory[1][0][1] == pytest.approx(0.75)
    assert law.theory[0][0][0] == pytest.approx(2 * float(subject.data.inputs[0].square().mean()))
