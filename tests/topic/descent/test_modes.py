"""Walks in eigendirections and the map of momentum: closed forms on quadratics."""

from __future__ import annotations

import math

import torch

import calclab
from calclab.figure.draw.canvas import png
from calclab.figure.kinds import figure
from calclab.optimizer.rules import Momentum, Nesterov
from calclab.optimizer.theory import heavy_ball, polyak
from calclab.subject.formula import formula
from calclab.topic.descent import modes

QUADRATIC = formula(expr="x**2 + 10*y**2 + x*y", at=[3.0, 1.0])


def test_without_momentum_the_map_is_the_rate_of_gradient_descent():
    found = modes.rates(QUADRATIC, Momentum(momentum=0.9))
    λ = modes.spectrum(QUADRATIC)
    expected = (1 - found.lrs * λ[:, None]).abs().amax(0)
    torch.testing.assert_close(found.predicted[0], expected)
    torch.testing.assert_close(found.measured[0], expected, rtol=1e-3, atol=0)


def test_what_is_measured_is_what_is_predicted_and_the_best_is_polyaks():
    for rule in (Momentum(momentum=0.9), Nesterov(momentum=0.9)):
        found = modes.rates(QUADRATIC, rule)
        off = (found.measured - found.predicted).abs()
        assert float(off.median()) < 2e-3
        assert float(((found.measured < 1) != (found.predicted < 1)).double().mean()) < 0.02
    λ = modes.spectrum(QUADRATIC)
    lr, momentum = polyak(float(λ[0]), float(λ[-1]))
    least = heavy_ball(float(λ[0]), float(λ[-1]), momentum).factor(lr)
    found = modes.rates(QUADRATIC, Momentum(momentum=0.9))
    assert least <= float(found.predicted.min()) <= least + 0.03


def test_along_each_direction_gradient_descent_shrinks_by_its_factor():
    result = calclab.descent(QUADRATIC, optimizer="gd", lr=0.05, steps=30)
    panel = result.figures.record("components")
    λ, V = torch.linalg.eigh(torch.tensor([[2.0, 1.0], [1.0, 20.0]], dtype=torch.float64))
    begin = (V.T @ torch.tensor([3.0, 1.0], dtype=torch.float64)).abs()
    for i, line in enumerate(panel.lines):
        expected = [float(begin[i]) * abs(1 - 0.05 * float(λ[i])) ** k for k in range(len(line.y))]
        for y, e in zip(line.y, expected, strict=True):
            assert math.isclose(y, e, rel_tol=1e-6, abs_tol=1e-13) or (math.isnan(y) and e < 1e-12)
    assert "momentum_map" not in result.figures
    assert figure(panel).axes[0].get_ylabel() == panel.ylabel != ""


def test_of_other_functions_only_near_a_known_minimum():
    rule, f = Momentum(momentum=0.9), formula(expr="(1 - x)**2 + 100*(y - x**2)**2", at=[0.0, 0.0], minima=[[1.0, 1.0]])
    near, far = torch.tensor([1.0, 1.01]), torch.tensor([0.0, 0.0])
    found = modes.modes(f, rule, 1e-3, near, 1.4)
    assert found is not None
    assert found.origin.tolist() == [1, 1]
    assert modes.modes(f, rule, 1e-3, far, 1.4) is None
    assert not modes.mapped(f, rule)
    saddle = formula(expr="x**2 - y**2", at=[1.0, 1.0])
    assert not modes.mapped(saddle, rule)


def test_both_are_drawn():
    result = calclab.descent(QUADRATIC, optimizer="momentum", lr=0.05, steps=40)
    for name in ("components", "momentum_map"):
        assert png(figure(result.figures.record(name)))[:4] == b"\x89PNG"
