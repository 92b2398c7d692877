"""Whether a point is a stationary one: of formulas by proof, of callables from the float program, in any unit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calclab.core import Function
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.stationary import ULPS, local_model, stationary
from calclab.subject.formula import formula

EPS = torch.finfo(torch.float64).eps


def at(f: Function, x: Tensor) -> bool:
    return stationary(f, x, local_model(f, x, value_and_gradient(f.call, x)[1]))


def both(expr: str, x: list[float], call) -> set[bool]:
    """As a formula, and as a callable that nothing is proven of."""
    known = formula(expr=expr, at=x)
    plain = Function("f", call, known.start, known.variables)
    return {at(known, known.start), at(plain, plain.start)}


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("ulps", [0, 2, 40])
def test_a_few_units_in_the_last_place_are_near_and_many_are_not(unit: float, ulps: int) -> None:
    """(x - 1)² + 50 (x - 1)(y - 3) + ... by any unit of f: a bowl turned to its axes, at a point so many ulps away."""
    x = [1 + ulps * EPS, 3.0]
    expr = f"{unit!r}*((x - 1)**2 + (x - 1)*(y - 3) + 4*(y - 3)**2)"
    call = lambda z: unit * ((z[0] - 1) ** 2 + (z[0] - 1) * (z[1] - 3) + 4 * (z[1] - 3) ** 2)  # noqa: E731
    assert both(expr, x, call) == {ulps <= ULPS}


@pytest.mark.parametrize("slope", [0.0, 1e-9, 1e-3])
def test_no_steep_direction_excuses_a_slope_along_a_flat_one(slope: float) -> None:
    expr = f"1e6*(x - 1)**2 + (y - 2)**2 + {slope!r}*y"
    call = lambda z: 1e6 * (z[0] - 1) ** 2 + (z[1] - 2) ** 2 + slope * z[1]  # noqa: E731
    assert both(expr, [1.0, 2.0], call) == {slope == 0.0}


def test_waves_shorter_than_an_ulp_have_no_stationary_point_there() -> None:
    """cos(1e9 x) at 1e9: a step of one ulp is a hundred waves. H tells nothing of the slope there."""
    x = [1e9]
    f = formula(expr="cos(1e9*x)", at=x)
    assert not at(f, f.start)
    near = formula(expr="cos(x)", at=[3.141592653589793])
    assert at(near, near.start)


@pytest.mark.parametrize(("expr", "x"), [("x0**2*x1 - x1**3 + x0*x1", [0.4, -1.2]), ("exp(x0) + x0*x1**2", [0.1, 2.0])])
def test_the_look_diagonalises_the_hessian(expr: str, x: list[float]) -> None:
    f = formula(expr=expr, at=x)
    for seen in (
        local_model(f, f.start, f.start),
        local_model(Function("f", f.call, f.start, f.variables), f.start, f.start),
    ):
        H = torch.func.hessian(f.call)(f.start)
        torch.testing.assert_close((seen.V * seen.λ) @ seen.V.T, H)
        assert bool((seen.λ.diff() >= 0).all())
    assert local_model(f, f.start, f.start).ball is not None


@pytest.mark.parametrize("exponent", [-300, -200, -160, 0, 153, 160, 200, 270])
def test_no_size_is_too_large_or_small_to_be_told(exponent: int) -> None:
    """Norms square: beyond 1e154 they are infinite, and would allow any slope."""
    size = float(f"1e{exponent}")
    for far in (size, -2.5 * size):
        f = formula(expr="x**2 + 3*y**2", at=[far, 1.0])
        assert not at(f, f.start)
    f = formula(expr=f"{size!r}*((x - 1)**2 + 3*(y - 2)**2)", at=[1.5, 2.0])
    assert not at(f, f.start)
    f = formula(expr=f"{size!r}*((x - 1)**2 + 3*(y - 2)**2)", at=[1 + 2 * EPS, 2.0])
    assert at(f, f.start)
