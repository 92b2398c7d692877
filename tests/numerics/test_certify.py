"""Evidence for formulas: certified, suspect, refuted, undefined, inconclusive, each from a known exact object."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, nan

import pytest
import torch
from torch import Tensor

from calclab.core import Ball, Evidence, Function, Verdict
from calclab.numerics.agreement import worst
from calclab.numerics.judge import kept
from calclab.numerics.operators import dense_hessian, dense_jacobian, value_and_gradient
from calclab.numerics.verify import (
    check_eigenvalues,
    check_gradient,
    check_gradients,
    check_hessian,
    check_jacobian,
    check_singular_values,
    check_value,
)
from calclab.subject.formula import formula


def point(*x: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(x, dtype=dtype)


@dataclass
class Known:
    """What is known of x0² + 3 x1, and how well."""

    latex: str = ""
    rad: float = 0.0
    sides: tuple[Tensor, Tensor] = field(default_factory=lambda: (point(-1, 3), point(1, 3)))
    kink: bool = False

    def tensor(self, x: Tensor, order: int) -> Tensor:
        x = x.double()
        if order == 0:
            return x[0] ** 2 + 3 * x[1]
        return torch.stack([2 * x[0], point(3)[0]]) if order == 1 else torch.diag(point(2, 0))

    def derivative_latex(self, order: int) -> list[str]:
        return []

    def enclose(self, x: Tensor, order: int) -> Ball:
        mid = self.tensor(x, order).clone()
        if self.kink and order == 1:
            mid[0] = nan
        return Ball(mid, torch.where(mid == 0, 0, torch.full_like(mid, self.rad)))

    def rounding(self, x: Tensor, order: int) -> Tensor:
        return torch.finfo(x.dtype).eps * self.tensor(x, order).abs()

    def one_sided(self, x: Tensor, order: int = 1) -> tuple[Tensor, Tensor]:
        return self.sides

    def eigenvalues(self, x: Tensor) -> Ball:
        return Ball(point(0, 2), point(self.rad, self.rad))

    def singular_values(self, x: Tensor) -> Ball:
        return Ball(point(3, 1), point(self.rad, self.rad))


def function(exact: Known, x: Tensor) -> Function:
    return Function("f", lambda z: z[0] ** 2 + 3 * z[1], x, ("x0", "x1"), exact=exact)


X = point(0.7, -2.3)
G = point(1.4, 3)


def test_right_numbers_are_certified_with_a_true_bound() -> None:
    f = function(Known(rad=1e-13), X)
    rows = (
        check_gradient(f, X, G, 5) + check_hessian(f, X, torch.diag(point(2, 0)), 5) + check_value(f, X, f.call(X), 5)
    )
    assert {row.verdict for row in rows} == {Verdict.CERTIFIED}
    assert {row.method for row in rows} == {"Arb ball"}
    assert all(row.gap <= row.bound <= row.tolerance and row.step == 5 for row in rows)
    assert all(row.bound >= 1e-13 for row in rows if row.method == "Arb ball")


def test_numbers_that_autograd_gets_right_and_the_topic_wrong_are_refuted() -> None:
    rows = check_gradient(function(Known(), X), X, G * (1 + 1e-4), 0)
    assert {row.verdict for row in rows} == {Verdict.REFUTED}
    assert rows[0].gap == pytest.approx(3e-4)
    assert rows[0].value == pytest.approx(3.0003)


def test_scale_of_a_descent() -> None:
    f, off = function(Known(), X), G + point(0, 1e-7)
    assert check_gradient(f, X, off, 0)[0].verdict is not Verdict.CERTIFIED
    assert check_gradient(f, X, off, 0, scale=1e4)[0].verdict is Verdict.CERTIFIED


def test_one_row_for_each_partial_derivative() -> None:
    rows = check_gradient(function(Known(), X), X, G, 0, each=True)
    assert [row.quantity for row in rows] == ["∂f/∂x0", "∂f/∂x1"]
    assert [row.reference for row in rows] == [1.4, 3.0]


def test_kinks_are_undefined_with_the_slopes_from_both_sides() -> None:
    f = function(Known(kink=True), X)
    rows = check_gradient(f, X, point(0, 3), 0, each=True)
    assert [row.verdict for row in rows] == [Verdict.UNDEFINED, Verdict.CERTIFIED]
    assert rows[0].note == "kink in x0: slope -1 from the left, 1 from the right"
    rows = check_hessian(f, X, torch.diag(point(2, 0)), 0)
    assert rows[0].verdict is Verdict.UNDEFINED
    assert "slope -1" in rows[0].note


def test_a_wide_ball_is_inconclusive() -> None:
    assert check_gradient(function(Known(rad=inf), X), X, G, 0)[0].verdict is Verdict.INCONCLUSIVE
    assert check_gradient(function(Known(rad=1e-3), X), X, G, 0)[0].verdict is Verdict.INCONCLUSIVE


def test_proven_zero_forgives_the_rounding_of_its_terms_and_nothing_else_does() -> None:
    class Zero(Known):
        """Slopes 0 and 1, the first the difference of terms of size one."""

        def tensor(self, x: Tensor, order: int) -> Tensor:
            return [point(0)[0], point(0, 1), torch.zeros(2, 2, dtype=torch.float64)][order]

        def rounding(self, x: Tensor, order: int) -> Tensor:
            return torch.full_like(self.tensor(x, order), 2.0**-53)

    class Near(Zero):
        """... zero as far as 1e-250."""

        def enclose(self, x: Tensor, order: int) -> Ball:
            mid = super().enclose(x, order).mid
            return Ball(mid, 1e-250 * (mid == 0).double())

    proven, open_ = function(Zero(), X), function(Near(), X)
    row = check_gradient(proven, X, point(2e-16, 1), 0)[0]
    assert (row.verdict, row.note) == (Verdict.CERTIFIED, "proven to be zero")
    assert check_gradient(proven, X, point(0, 1), 0)[0].note == ""
    assert check_gradient(proven, X, point(2e-15, 1), 0)[0].verdict is Verdict.SUSPECT
    row = check_gradient(open_, X, point(2e-16, 1), 0)[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "proven to be within 1e-250 of zero" in row.note
    assert "proven value 0 to within 1e-250" in check_gradient(open_, X, point(2e-15, 1), 0)[0].note

    class Tiny(Zero):
        def tensor(self, x: Tensor, order: int) -> Tensor:
            return super().tensor(x, order) + (point(1e-16, 0) if order == 1 else 0)

    assert check_gradient(function(Tiny(), X), X, point(2e-16, 1), 0)[0].verdict is Verdict.SUSPECT


def test_every_entry_is_judged_by_its_own_size() -> None:
    f = function(Known(), X)
    row = check_gradient(f, X, G + point(1e-8, 0), 0)[0]
    assert row.verdict is Verdict.REFUTED
    f = formula(expr="1e20*x + (1 - cos(y))/y**2", at=[1.0, 1e-9])
    rows = check_gradient(f, f.start, value_and_gradient(f.call, f.start)[1], 0, each=True)
    assert [row.verdict for row in rows] == [Verdict.CERTIFIED, Verdict.SUSPECT]
    assert rows[1].reference == pytest.approx(-1e-9 / 12, rel=1e-8)
    rows = check_hessian(f, f.start, dense_hessian(f.call, f.start), 0)
    assert rows[0].verdict is Verdict.SUSPECT
    assert rows[0].reference == pytest.approx(-1 / 12, rel=1e-8)
    assert "at [1, 1]; 1 of 4 entries" in rows[0].note


def test_spectra() -> None:
    f = function(Known(rad=1e-15), X)
    assert worst(check_eigenvalues(f, X, point(0, 2), 0)) is Verdict.INCONCLUSIVE  # 0 may be 1e-15
    assert worst(check_eigenvalues(function(Known(), X), X, point(1e-16, 2), 0)) is Verdict.CERTIFIED
    assert worst(check_eigenvalues(f, X, point(0, 2.1), 0)) is Verdict.SUSPECT
    assert worst(check_singular_values(f, X, point(3, 1), 0)) is Verdict.CERTIFIED


def test_float32_is_judged_by_its_own_digits() -> None:
    x = point(0.7, -2.3, dtype=torch.float32)
    f = function(Known(), x)
    assert worst(check_gradient(f, x, value_and_gradient(f.call, x)[1], 0)) is Verdict.CERTIFIED
    assert worst(check_gradient(f, x, point(1.41, 3, dtype=torch.float32), 0)) is Verdict.REFUTED


# --- with real formulas ---------------------------------------------------------------------------------------------


def evidence_of(f: Function) -> list[Evidence]:
    x = f.start
    value, g = value_and_gradient(f.call, x)
    H = dense_hessian(f.call, x)
    return check_value(f, x, value, 0) + check_gradient(f, x, g, 0) + check_hessian(f, x, H, 0)


@pytest.mark.parametrize("at", [[-1.2, 1.0], [1.0, 1.0], [0.3, 700.0]])
def test_rosenbrock_is_certified(at: list[float]) -> None:
    rows = evidence_of(formula(expr="(1-x0)**2 + 100*(x1-x0**2)**2", at=at))
    assert worst(rows) is Verdict.CERTIFIED, rows


def test_cancellation_is_suspect_and_shows_the_proven_value() -> None:
    rows = evidence_of(formula(expr="(exp(x) - 1 - x) / x**2", at=[1e-5]))
    assert worst(rows) is Verdict.SUSPECT
    assert rows[0].note.startswith("float64 keeps about 5 of 16 digits here; proven value 0.500001")


def test_overflow_is_suspect_with_all_digits_lost() -> None:
    rows = evidence_of(formula(expr="log(exp(x) + exp(y))", at=[1000.0, 1001.0]))
    assert worst(rows) is Verdict.SUSPECT
    assert rows[0].note == "float64 gives inf here; proven value 1001.313262"
    assert rows[0].gap == inf


def test_kinks_of_formulas() -> None:
    f = formula(expr="abs(x) + y**2", at=[0.0, 1.5])
    rows = check_gradient(f, f.start, value_and_gradient(f.call, f.start)[1], 0, each=True)
    assert rows[0].verdict is Verdict.UNDEFINED
    assert rows[0].note == "kink in x: slope -1 from the left, 1 from the right"
    assert {row.verdict for row in rows[1:]} == {Verdict.CERTIFIED}
    H = check_hessian(f, f.start, dense_hessian(f.call, f.start), 0)
    assert H[0].verdict is Verdict.UNDEFINED


def test_floats_beside_a_stationary_point_have_the_slope_they_have() -> None:
    """(3x - 1)² + cos(y) near (1/3, π): the true slope in x is -3.3e-16, and the program says 0. That in y is right."""
    f = formula(expr="(3*x - 1)**2 + cos(y)", at=[1 / 3, 3.141592653589793])
    rows = check_gradient(f, f.start, value_and_gradient(f.call, f.start)[1], 0, each=True)
    assert [row.verdict for row in rows] == [Verdict.SUSPECT, Verdict.CERTIFIED]
    assert rows[0].reference == 6 * (Fraction(3) * Fraction(1 / 3) - 1)
    assert "rounding the inputs to float64 alone moves it by up to 5e-16" in rows[0].note
    assert rows[1].reference == pytest.approx(-1.2246467991473532e-16, rel=1e-15)


def test_jacobians_of_formulas() -> None:
    f = formula(expr=["x0**2 + x1", "x0*x1", "sin(x0) + cos(x1)"], at=[1.0, 2.0])
    J = dense_jacobian(f.call, f.start)
    rows = check_value(f, f.start, f.call(f.start), 0) + check_jacobian(f, f.start, J, 0)
    rows += check_singular_values(f, f.start, torch.linalg.svdvals(J), 0)
    assert worst(rows) is Verdict.CERTIFIED, rows
    assert worst(check_jacobian(f, f.start, J * (1 + 1e-6), 0)) is Verdict.REFUTED


def test_each_row_of_a_jacobian_is_judged_by_its_own_size() -> None:
    """Cancellation in one output is not hidden by a large derivative of another."""
    f = formula(expr=["sinh(x) - cosh(x)", "x"], at=[15.0])
    J = dense_jacobian(f.call, f.start)
    found = check_jacobian(f, f.start, J, 0)
    assert worst(found) is Verdict.SUSPECT
    assert "of 16 digits" in found[0].note
    assert f.exact is not None
    assert worst(check_jacobian(f, f.start, f.exact.enclose(f.start, 1).mid, 0)) is Verdict.CERTIFIED


def test_many_points_are_judged_as_each_alone() -> None:
    """Points that pass, one at a kink, one where floats overflow, one at a zero gradient, and one gradient too long."""
    f = formula(expr="abs(x) + exp(y) - y", at=[1.0, 0.5])
    x = torch.tensor([[1.0, 0.5], [-2.0, 0.0], [0.0, 1.0], [1.0, 800.0], [3.0, 0.1]], dtype=torch.float64)
    g = torch.stack([dense_jacobian(lambda z: f.call(z)[None], row)[0] for row in x])
    g[4] += 1e-3
    scales = [1.0, 2.0, 1.0, 1.0, 1e-9]
    together = check_gradients(f, x, g, 7, scales)
    alone = [check_gradient(f, *look, 7, scale=s) for *look, s in zip(x, g, scales, strict=True)]
    assert repr(together) == repr(alone)
    verdicts = [worst(rows) for rows in together]
    assert verdicts[:2] == [Verdict.CERTIFIED] * 2
    assert Verdict.CERTIFIED not in verdicts[2:]
    assert check_gradients(f, x[:0], g[:0], 7, []) == []


@pytest.mark.parametrize(
    ("gap", "truth", "digits"),
    [
        (0.0, 1.0, 16),
        (2e-10, -1.0, 9),
        (1e285, 1e-173, 0),
        (5e-324, 1e300, 16),
        (inf, 1.0, 0),
        (1.0, 0.0, 0),
        (2.0, 1.0, 0),
    ],
)
def test_digits_kept_of_any_gap(gap: float, truth: float, digits: int) -> None:
    assert kept(gap, truth, 16) == digits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_underflows_on_the_way_is_not_refuted(dtype: torch.dtype) -> None:
    """Reverse mode multiplies 1e-315 with 1e-148 and then with 1e147: a wrong slope, by no fault of the lab's."""
    small, large = (1e-300, 8e147) if dtype == torch.float64 else (1e-38, 8e18)
    f = formula(expr=f"{small}*((x*x)*(1/x)*1e-15)", at=[large], dtype=dtype)
    g = torch.autograd.functional.jacobian(f.call, f.start)
    for gradient in (g, -g, torch.zeros_like(g)):
        assert worst(check_gradient(f, f.start, gradient, 0)) is not Verdict.REFUTED


def test_what_underflows_is_asked_of_constants_too() -> None:
    f = formula(expr=["1e-300*((x*x)*(1/x)*1e-15)", "2.93e-10", "x"], at=[8e147])
    J = dense_jacobian(f.call, f.start)
    assert worst(check_jacobian(f, f.start, -J, 0)) is Verdict.REFUTED  # by its last row
    assert f.exact is not None
    assert f.exact.rounding(f.start, 1).isinf().flatten().tolist() == [True, False, False]
