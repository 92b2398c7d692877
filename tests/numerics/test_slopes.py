"""Rows of evidence from differences: what they allow, what they say of a kink, and what rounding may not hide."""

from __future__ import annotations

import re
from math import comb

import pytest
import torch
from torch import Tensor

from calclab.core import Function, Verdict
from calclab.numerics import taylor
from calclab.numerics.estimate import DIRECTIONS, SEED, SMALL
from calclab.numerics.lanes import measure_lanes
from calclab.numerics.operators import LinearOperator, dense_jacobian, value_and_gradient
from calclab.numerics.tolerance import tolerance_of
from calclab.numerics.verify import (
    check_eigenvalues,
    check_gradient,
    check_jacobian,
    check_singular_values,
    check_value,
)
from calclab.subject.formula import formula


def function(call, x: Tensor, outputs: int = 0) -> Function:
    return Function("f", call, x, tuple(f"x{i}" for i in range(len(x))), tuple(f"f{i}" for i in range(outputs)))


def point(*x: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(x, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_what_is_resolved_is_relative_to_the_slopes_along_the_directions(scale: float, dtype: torch.dtype) -> None:
    """Directions move x_i by about max(1, |x_i|): slopes along them have the root mean square ‖g max(1, |x|)‖."""
    x = point(0.3, -20.0, 2.0, dtype=dtype)
    call = lambda z: scale * (torch.sin(z[0]) + z[1] * z[2])  # noqa: E731
    g = value_and_gradient(call, x)[1]
    rows = check_gradient(function(call, x), x, g, 0)
    assert {row.verdict for row in rows} == {Verdict.CONSISTENT}
    expected = tolerance_of(dtype).resolve * float((g * point(1.0, 20.0, 2.0, dtype=dtype)).norm())
    assert rows[0].method == "Taylor order"
    assert rows[0].tolerance == pytest.approx(expected, rel=1e-5)
    slopes = [abs(row.value) for row in rows]
    ds = taylor.directions(x, DIRECTIONS, SEED)
    assert all(any(abs(abs(float(taylor.dot(g, d))) - s) <= 1e-4 * s for d in ds) for s in slopes[::2])


def test_a_kink_is_told_with_the_slopes_of_both_sides() -> None:
    """|x| + x along ±d: the slopes are 2d and 0 where the gradient is NaN, as it is where it is finite."""
    for call in (lambda z: (z * z).sqrt().sum() + z.sum(), lambda z: z.abs().sum() + z.sum()):
        x = point(0.0)
        rows = check_gradient(function(call, x), x, value_and_gradient(call, x)[1], 0)
        d = float(taylor.directions(x, DIRECTIONS, SEED)[0, 0])
        kinks = [row.note for row in rows if row.note.startswith("kink: along")]
        assert kinks
        for note in kinks:
            found = sorted(float(n) for n in re.findall(r"slope is (\S+) on one side and (\S+) on the other", note)[0])
            assert found == pytest.approx(sorted([0.0, 2 * d]), abs=1e-5)


def test_a_large_constant_does_not_make_a_slope_zero() -> None:
    """1e8 + 1e-7 x: the rounding of f hides the slope, but f hardly varies, so that nothing says it is zero."""
    x = point(0.5)
    call = lambda z: 1e8 + 1e-7 * z.sum()  # noqa: E731
    rows = check_gradient(function(call, x), x, point(1e-7), 0)
    (last,) = [row for row in rows if row.method == "Richardson"]
    assert last.verdict is Verdict.INCONCLUSIVE
    steep = lambda z: 1e8 * torch.cos(z - 0.5).sum()  # noqa: E731  its slope at 0.5 is rounding beside what it varies by
    rows = check_gradient(function(steep, x), x, point(1e-7), 0)
    (last,) = [row for row in rows if row.method == "Richardson"]
    assert last.verdict is Verdict.CONSISTENT


def test_quantities_are_called_by_their_names() -> None:
    scalar, vector = formula(expr="x0*x1", at=[1.0, 2.0]), formula(expr=["x0*x1", "x0"], at=[1.0, 2.0])
    for f, first in ((scalar, "gradient"), (vector, "jacobian")):
        value = f.call(f.start)
        assert {row.quantity for row in check_value(f, f.start, value, 0)} == {"value"}
        J = value_and_gradient(f.call, f.start)[1] if f is scalar else dense_jacobian(f.call, f.start)
        check = check_gradient if f is scalar else check_jacobian
        assert {row.quantity for row in check(f, f.start, J, 0)} == {first}


def test_nothing_is_timed_where_columns_cannot_share_a_pass() -> None:
    H = torch.eye(8, dtype=torch.float64)
    for laned, lanes, n in ((None, 4, 8), (lambda _: None, 1, 8), (lambda _: None, 4, 3)):
        part = H[:n, :n]
        A = LinearOperator(
            (n, n), lambda V, part=part: part @ V, None, True, H.dtype, H.device, laned=laned, lanes=lanes
        )
        assert measure_lanes(A) == 1
        assert A.products == 0


def test_no_second_opinion_on_spectra_that_are_not_finite_or_large() -> None:
    f = function(lambda z: torch.stack([z[0] * z[1], z[1]]), point(1.0, 2.0), 2)
    good = torch.linalg.svdvals(dense_jacobian(f.call, f.start))
    assert [row.verdict for row in check_singular_values(f, f.start, good, 0)] == [Verdict.CONSISTENT]
    for bad in (good * torch.nan, good * torch.inf, torch.ones(SMALL + 1, dtype=torch.float64)):
        assert check_singular_values(f, f.start, bad, 0) == []
    g = function(lambda z: (z * z).sum(), point(1.0, 2.0))
    for bad in (point(2.0, torch.nan), torch.ones(SMALL + 1, dtype=torch.float64)):
        assert check_eigenvalues(g, g.start, bad, 0) == []


def test_scatter_is_the_noise_and_not_the_curve() -> None:
    """Alternating noise ±σ has differences 2^k σ, of order k, over √C(2k, k); a parabola has none beyond the second."""
    signs = torch.tensor([(-1.0) ** i for i in range(9)], dtype=torch.float64)
    i = torch.arange(9, dtype=torch.float64)
    found = taylor.scatter(3 + 2 * i - 5 * i**2 + 1e-6 * signs)
    largest = max(2**k / comb(2 * k, k) ** 0.5 for k in (3, 4, 5))
    assert found == pytest.approx(1e-6 * largest, rel=1e-6)
    cubic = taylor.scatter(i**3)  # its third difference is 6, the others nothing
    assert cubic == pytest.approx(6 / comb(6, 3) ** 0.5)
