"""The straight line of a formula and its gradient is what autograd says, alone and in a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calclab.numerics.operators import loss_and_gradient, value_and_gradient
from calclab.subject.formula import formula

LEAVES = st.sampled_from(["x", "y", "2", "0.5", "pi", "x", "y"])


def grow(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(parts, st.sampled_from("+-*"), parts).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
    one = st.tuples(st.sampled_from(["sin", "cos", "atan", "-", "1/2*"]), parts).map(lambda p: f"{p[0]}({p[1]})")
    power = st.tuples(parts, st.sampled_from(["2", "3", "0", "1"])).map(lambda p: f"({p[0]})**{p[1]}")
    safe = parts.map(lambda p: f"exp(sin({p}))/sqrt(1 + ({p})**2)")
    return pair | one | power | safe


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(LEAVES, grow, max_leaves=8), st.floats(-2, 2), st.floats(-2, 2))
def test_value_and_gradient_are_those_of_autograd(expr: str, a: float, b: float) -> None:
    f = formula(expr=f"{expr} + 0*x + 0*y", at=[a, b], variables=["x", "y"])
    assert f.exact is not None
    if f.exact.lean is None:
        return
    value, gradient = f.exact.lean(f.start)
    there, slope = value_and_gradient(f.call, f.start)
    size = 1 + slope.abs().max()
    assert abs(value - there) <= 1e-11 * (1 + there.abs())
    assert (gradient - slope).abs().max() <= 1e-9 * size


@pytest.mark.parametrize("expr", ["abs(x)", "max(x, y)", "where(x > 0, x, y)", "x**y", "[x, abs(y)]"])
def test_kinks_are_left_to_autograd(expr: str) -> None:
    f = formula(expr=expr, at=[1.0, 2.0] if "y" in expr else [1.0])
    assert f.exact is not None
    assert f.exact.lean is None


def test_a_vector_has_its_jacobian() -> None:
    f = formula(expr=["x**2*y", "sin(x) + y", "3"], at=[0.3, -0.7])
    assert f.exact is not None
    assert f.exact.lean is not None
    x = torch.tensor([[0.3, -0.7], [2.0, 1.5]], dtype=torch.float64)
    value, J = f.exact.lean(x)
    for row, point in enumerate(x):
        torch.testing.assert_close(value[row], f.call(point))
        torch.testing.assert_close(J[row], torch.func.jacrev(f.call)(point))


@pytest.mark.parametrize("expr", ["(1 - x)**2 + 100*(y - x**2)**2", "abs(x) + y**2"])
def test_a_batch_is_its_rows(expr: str) -> None:
    f = formula(expr=expr, at=[0.3, -0.7])
    points = torch.tensor([[0.3, -0.7], [1.5, 2.0], [-1.0, 0.25]], dtype=torch.float64)
    values, gradients = loss_and_gradient(f, points)
    for point, value, gradient in zip(points, values, gradients, strict=True):
        alone = loss_and_gradient(f, point)
        assert torch.equal(value, alone[0])
        assert torch.equal(gradient, alone[1])


@pytest.mark.parametrize(
    ("expr", "degree"),
    [("x**2 + 3*x*y", 2), ("x*y*x", 3), ("sin(x)", torch.inf), ("x/2 - y", 1), ("1/x", torch.inf), ("3", 0)],
)
def test_degree(expr: str, degree: float) -> None:
    exact = formula(expr=expr).exact
    assert exact is not None
    assert exact.degree == degree
