"""Balls, closed forms and LaTeX of a formula."""

from __future__ import annotations

import math

import flint
import pytest
import torch

from calclab.core import Ball
from calclab.subject.formula import formula


def holds(ball: Ball, truth: object) -> bool:
    return bool(((ball.mid - torch.as_tensor(truth, dtype=torch.float64)).abs() <= ball.rad + 1e-15).all())


def test_kinks_are_undefined_with_their_one_sided_values() -> None:
    for expr, left, right in (
        ("abs(x)", -1.0, 1.0),
        ("relu(x)", 0.0, 1.0),
        ("max(x, 2*x)", 1.0, 2.0),
        ("where(x < 0, x**2, 3*x)", 0.0, 3.0),
        ("where(x <= 0, x, x + x**2) + abs(x)", 0.0, 2.0),
    ):
        f = formula(expr=expr, at=0.0)
        assert f.exact is not None
        ball = f.exact.enclose(f.start, 1)
        assert math.isnan(float(ball.mid)), expr
        assert math.isinf(float(ball.rad)), expr
        low, high = f.exact.one_sided(f.start)
        assert (float(low), float(high)) == pytest.approx((left, right), abs=1e-50), expr
        assert float(f.exact.enclose(f.start, 0).rad) == 0


def test_ties_that_are_no_kinks() -> None:
    huber = formula(expr="where(abs(x) < 1, 0.5*x**2, abs(x) - 0.5)", at=1.0).exact
    assert huber is not None
    x = torch.tensor([1.0], dtype=torch.float64)
    assert holds(huber.enclose(x, 1), [1.0])
    assert float(huber.enclose(x, 1).rad) < 1e-30
    assert math.isnan(float(huber.enclose(x, 2).mid))  # 1 on one side, 0 on the other
    square = formula(expr="abs(x)**2 + abs(y)*y", at=[0.0, 1.0]).exact
    assert square is not None
    assert holds(square.enclose(torch.tensor([0.0, 1.0], dtype=torch.float64), 1), [0.0, 2.0])
    # Each choice of sides is smooth, but they differ: |x - y| written as a sum of maxima is a kink.
    hidden = formula(expr="max(x, y) + max(-x, -y)", at=[1.0, 1.0]).exact
    assert hidden is not None
    assert bool(hidden.enclose(torch.ones(2, dtype=torch.float64), 1).mid.isnan().all())
    jump = formula(expr="where(x < 0, x, x + 1)", at=0.0).exact
    assert jump is not None
    assert math.isnan(float(jump.enclose(torch.zeros(1, dtype=torch.float64), 1).mid))
    many = formula(expr="sum(i, 0, n - 1, abs(x[i]))", n=9, at=[0.0]).exact
    assert many is not None
    assert bool(many.enclose(torch.zeros(9, dtype=torch.float64), 1).mid.isnan().all())


def test_outside_the_domain_is_no_exception() -> None:
    for expr, at in (
        ("log(x)", -1.0),
        ("sqrt(x)", -1.0),
        ("1/x", 0.0),
        ("x**0.5", -2.0),
        ("asin(x)", 2.0),
        ("gamma(x)", -1.0),
    ):
        f = formula(expr=expr, at=at)
        assert f.exact is not None
        for order in (0, 1, 2):
            assert math.isinf(float(f.exact.enclose(f.start, order).rad)), (expr, order)


def test_eigenvalues_multiple_and_singular() -> None:
    cases = {
        "x**2 + y**2": [2.0, 2.0],
        "(x + y)**2": [0.0, 4.0],
        "x*y": [-1.0, 1.0],
        "3*x + y": [0.0, 0.0],
        "x**2 + y**2 + (x + y + z)**2 + z**2": [2.0, 2.0, 8.0],
    }
    for expr, truth in cases.items():
        f = formula(expr=expr)
        assert f.exact is not None
        ball = f.exact.eigenvalues(f.start)
        assert holds(ball, truth), expr
        assert float(ball.rad.max()) < 1e-15, expr


def test_eigenvalues_of_a_larger_matrix() -> None:
    """The discrete Laplacian: 2 - 2 cos(kπ/(n + 1))."""
    n = 40
    f = formula(expr="0.5*(x[0]**2 + sum(i, 1, n - 1, (x[i] - x[i - 1])**2) + x[n - 1]**2)", n=n)
    assert f.exact is not None
    ball = f.exact.eigenvalues(f.start)
    truth = 2 - 2 * torch.cos(torch.arange(1, n + 1, dtype=torch.float64) * math.pi / (n + 1))
    assert holds(ball, truth)
    assert float(ball.rad.max()) < 1e-11


def test_singular_values() -> None:
    for expr, truth in (
        (["3*x", "4*y"], [4.0, 3.0]),
        (["x + y", "x + y"], [2.0, 0.0]),
        (["x", "2*x", "2*x"], [3.0]),
        (["x + 2*y + 2*z"], [3.0]),
    ):
        f = formula(expr=expr)
        assert f.exact is not None
        ball = f.exact.singular_values(f.start)
        assert holds(ball, truth)
        assert float(ball.rad.max()) < 1e-15


def test_balls_are_outward() -> None:
    """1/3 is no double: the ball around it is not a point, and 2^-53 wide at most."""
    f = formula(expr="x/3", at=1.0)
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 1)
    assert 0 < float(ball.rad) <= 2.0**-54
    assert float(f.exact.enclose(torch.tensor([3.0], dtype=torch.float64), 0).rad) < 2.0**-53


@pytest.mark.parametrize(
    ("expr", "at", "order", "size"),
    [
        ("(1 + x) - x", 1e16, 0, 1e16),
        ("sin(x)", 1.0, 0, 1.0),
        ("x**3/3 - 1e16*x", 1e8, 1, 1e16),
        ("x*(3 - x)", 3.0, 0, 0),
    ],
)
def test_rounding_is_of_the_size_of_the_terms(expr: str, at: float, order: int, size: float) -> None:
    f = formula(expr=expr, at=at)
    assert f.exact is not None
    found = float(f.exact.rounding(f.start, order))
    assert 2.0**-54 * size <= found <= 2.0**-48 * size
    single = float(f.exact.rounding(f.start.float().double().float(), order))
    assert size == 0 or 2.0**27 <= single / found <= 2.0**31


def test_numbers_beyond_float64_keep_their_sign_and_are_written() -> None:
    for expr, text, sign in (("exp(1000*x)", "1.970071e+434", 1), ("-exp(-1000*x)", "-5.075959e-435", -1)):
        exact = formula(expr=expr, at=1.0).exact
        assert exact is not None
        ball = exact.enclose(torch.ones(1, dtype=torch.float64), 0)
        assert ball.beyond == {0: text}
        assert math.copysign(1, float(ball.mid)) == sign
    exact = formula(expr="sin(x)**2 + cos(x)**2 - 1", at=1.0).exact
    assert exact is not None
    ball = exact.enclose(torch.ones(1, dtype=torch.float64), 0)
    assert not ball.beyond
    assert float(ball.mid.abs()) <= float(ball.rad) < 1e-200


JUMPS = [
    ("atan2(y, x)", [-1.0, 0.0], [False, True]),
    ("atan2(y, x)", [1.0, 0.0], [False, False]),
    ("atan2(y, x)", [0.0, 0.0], [True, True]),
    ("atan2(y**3, x)", [-1.0, 0.0], [False, True]),
    ("sign(x) + y", [0.0, 2.0], [True, False]),
    ("x*sign(y)", [3.0, 0.0], [False, True]),
    ("where(x > 0, x + 1, x) + y", [0.0, 1.0], [True, False]),
    ("where(y > 0, x, 2*x)", [1.0, 0.0], [False, True]),
    ("where(x == 0, 5, x) + y", [0.0, 1.0], [True, False]),
    ("where(x < 1, x**2, 2*x - 1) + y", [1.0, 0.0], [False, False]),
    ("exp(sign(x)) + abs(y)", [0.0, 0.0], [True, True]),
]


@pytest.mark.parametrize(("expr", "at", "missing"), JUMPS)
def test_no_derivative_is_proven_across_a_jump(expr: str, at: list[float], missing: list[bool]) -> None:
    """... and along a jump, where the same side is taken everywhere, there is one."""
    f = formula(expr=expr, at=at, variables=["x", "y"])
    assert f.exact is not None
    assert f.exact.enclose(f.start, 1).mid.isnan().tolist() == missing
    H = f.exact.enclose(f.start, 2).mid.isnan()
    assert all(bool(H[i].all() & H[:, i].all()) for i in range(2) if missing[i])


def test_latex() -> None:
    def latex(expr: object, **options: object) -> str:
        exact = formula(expr=expr, **options).exact  # type: ignore[arg-type]
        assert exact is not None
        return exact.latex

    assert latex("x**2 + 0.1*x") == "f(x) = x^{2} + 0.1 x"
    assert latex("(x + 1)/(y - 2)") == r"f(x, y) = \frac{x + 1}{y - 2}"
    assert latex("x - (y - 1)") == r"f(x, y) = x - \left(y - 1\right)"
    assert latex("x**2*y + x*2") == r"f(x, y) = x^{2} y + x \cdot 2"
    assert latex("sum(i, 0, n - 1, x[i]**2)") == r"f(x) = \sum_{i=0}^{n - 1} x_{i}^{2}"
    assert r"\begin{pmatrix}" in latex(["x0", "x1"])
    assert latex("+".join(["x"] * 900)) == r"f : \mathbb{R}^{1} \to \mathbb{R}"


def test_a_large_hessian_is_sparse_work() -> None:
    f = formula(expr="sum(i, 0, n - 2, 100*(x[i + 1] - x[i]**2)**2 + (1 - x[i])**2)", at=[-1.2, 1.0], n=200)
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 2)
    torch.testing.assert_close(ball.mid, torch.func.hessian(f.call)(f.start), rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("expr", ["abs(x)", "relu(x)", "max(x, 0)", "sign(x)*x", "abs(x) + 3*x", "where(x > 0, x, 0)"])
def test_a_kink_has_no_second_derivative(expr: str) -> None:
    f = formula(expr=expr, at=[0.0])
    assert f.exact is not None
    assert f.exact.enclose(f.start, 2).mid.isnan().all()
    other = formula(expr=f"{expr} + y**2", at=[0.0, 1.0])
    assert other.exact is not None
    H = other.exact.enclose(other.start, 2).mid
    assert H.isnan().tolist() == [[True, True], [True, False]]
    assert H[1, 1] == 2


@pytest.mark.parametrize(
    ("expr", "left", "right"),
    [
        ("sqrt(x)", math.nan, math.inf),
        ("-sqrt(abs(x))", math.inf, -math.inf),
        ("cbrt(x)", math.inf, math.inf),
        ("x*log(abs(x))", -math.inf, -math.inf),
        ("abs(x)", -1.0, 1.0),
        ("where(x > 0, x**2, -x)", -1.0, 0.0),
        ("1e30*abs(x)", -1e30, 1e30),
    ],
)
def test_one_sided_slopes_may_be_infinite(expr: str, left: float, right: float) -> None:
    f = formula(expr=expr, at=[0.0])
    assert f.exact is not None
    found = [float(side) for side in f.exact.one_sided(f.start)]
    assert found == pytest.approx([left, right], nan_ok=True)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_powers_of_balls_around_zero(k: int) -> None:
    """x/3 - 1/3 at 1 is a ball around 0 at every precision: its powers are small, not undefined."""
    f = formula(expr=f"(x/3 - 1/3)**{k} + x", at=[1.0])
    assert f.exact is not None
    for order in range(3):
        ball = f.exact.enclose(f.start, order)
        truth = [1, 1 + (k == 1) / 3, 2 / 9 * (k == 2)][order]
        assert ((ball.mid - truth).abs() <= ball.rad + 1e-15).all()
        assert (ball.rad < 1e-15).all()
    blurred = formula(expr="(x + y + 1)**2", at=[0.0, -1.0])
    assert blurred.exact is not None
    assert blurred.exact.rounding(blurred.start, 1).isfinite().all()


UNSURE = "(sin(x)**2 + cos(x)**2 - 1)"  # 0, and no ball tells


@pytest.mark.parametrize(
    "expr",
    [
        f"sqrt({UNSURE})",
        f"log({UNSURE})",
        f"1/{UNSURE}",
        f"asin(1 + {UNSURE})",
        f"acosh(1 - {UNSURE})",
        "atanh(tanh(x*1e5))",
        f"gamma({UNSURE})",
        f"{UNSURE}**0.5",
        f"x + cbrt({UNSURE})",
        f"1/sin(pi*x + {UNSURE})",
    ],
)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_at_the_edge_of_a_domain_nothing_is_known(expr: str, order: int) -> None:
    """A ball across the edge does not prove that there is no number."""
    f = formula(expr=expr, at=1.0)
    ball = f.exact.enclose(f.start, order)  # type: ignore[union-attr]
    assert not bool(ball.mid.isnan())
    assert order == 0 or bool(ball.rad.isinf())


@pytest.mark.parametrize(
    ("expr", "at"),
    [
        ("log(x)", 0.0),
        ("log(x - 3)", 1.1),
        ("1/x", 0.0),
        ("sqrt(sin(x) - 2)", 0.7),
        ("gamma(x)", -3.0),
        ("acosh(cos(x)/2)", 0.3),
        ("(sin(x) - 2)**0.5", 0.7),
        ("x**-1.5", 0.0),
        ("x**pi", -2.0),
        ("x**(1/3)", -2.0),
        ("atan2(x, 3*x)", 0.0),
        ("atanh(1 + x**2)", 0.1),
        ("log1p(-1 - exp(x))", 0.1),
    ],
)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_outside_a_domain_there_is_no_number(expr: str, at: float, order: int) -> None:
    f = formula(expr=expr, at=at)
    assert bool(f.exact.enclose(f.start, order).mid.isnan())  # type: ignore[union-attr]


def test_eigenvalues_beyond_float64_are_not_known() -> None:
    """Of clusters that Arb does not tell apart, where LAPACK cannot help."""
    f = formula(expr="1e300*gamma(30*x)*(x*y + y*z + x*z + x**2 + y**2 + z**2) + 1e-300*z**4", at=[5.5, 1e-12, 3e-12])
    assert f.exact is not None
    ball = f.exact.eigenvalues(f.start)
    assert bool((ball.rad.isinf() | ball.mid.isinf()).all())


@pytest.mark.parametrize("expr", ["asin(log(x))", "atan2(sqrt(x), 1 + x)", "erf(x**0.5)", "cos(acosh(x))"])
def test_what_is_undefined_stays_undefined(expr: str) -> None:
    """Arb's own asin of NaN is -π/2, its atan2 anything from -π to π."""
    f = formula(expr=expr, at=-2.0)
    for order in (0, 1, 2):
        assert bool(f.exact.enclose(f.start, order).mid.isnan().all())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("expr", "at", "largest"),
    [
        ("exp(1000*cosh(x))*y + z**2", [-2.2, 0.5, 1.9], "1e+1984"),
        ("cosh(exp(100)*y/x) + cbrt(pi*z**z/y)", [-9.8e-21, 1e16, 1e16], "1e+1000"),
        ("1e-200*x**2 + 1e-210*x*y + 1e200*z**2", [1.0, 1.0, 1.0], "1.9e+200"),
    ],
)
def test_eigenvalues_of_every_size_are_proven_or_left_open(expr: str, at: list[float], largest: str) -> None:
    f = formula(expr=expr, at=at)
    assert f.exact is not None
    ball = f.exact.eigenvalues(f.start)
    assert not ball.mid.isnan().any()
    top = ball.beyond.get(2, repr(float(ball.mid[2])))
    assert top.startswith("about 10**(") or flint.arb(top) > flint.arb(largest)
    H = f.exact.enclose(f.start, 2)
    finite = ball.rad.isfinite() & ball.mid.isfinite()
    assert not bool(H.mid.isfinite().all()) or bool((ball.mid[finite].abs() <= 3 * H.mid.abs().max()).all())


@pytest.mark.parametrize(
    ("expr", "says"), [("exp(exp(800*x))", "about 10**(10**347)"), ("-exp(exp(800*x))", "about -10**(10**347)")]
)
def test_a_number_whose_exponent_is_beyond_float64_is_told(expr: str, says: str) -> None:
    """e^(e^800): its logarithm to base 10 is 0.434 e^800 = 1.2e347."""
    f = formula(expr=expr, at=1.0)
    assert f.exact is not None
    assert f.exact.enclose(f.start, 0).beyond == {0: says}


def test_a_number_whose_exponent_is_beyond_float64_below_is_told() -> None:
    f = formula(expr="exp(-exp(800*x))", at=1.0)
    assert f.exact is not None
    assert f.exact.enclose(f.start, 0).beyond == {0: "about 10**(-10**347)"}


def test_a_value_on_an_unknown_side_is_one_of_them() -> None:
    f = formula(expr="sign(sin(x)**2 + cos(x)**2 - 1) + 2", at=0.7)
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 0)
    assert abs(float(ball.mid) - 2) <= float(ball.rad) <= 3


@pytest.mark.parametrize(
    "text",
    [
        "cos(1/(x - x*1))",
        "atan(1/(x/3 - x/3))",
        "x + atan2(log10(10) - 1, 0)",
        "cos(1/(x*y - y*x))**2 + sin(1/(x*y - y*x))**2",
    ],
)
def test_what_may_have_no_value_has_no_bound_either(text: str) -> None:
    f = formula(expr=text, at=[0.1, 0.3] if "y" in text else [0.1])
    ball = f.exact.enclose(f.start, 0)
    assert not bool(ball.rad.isfinite())
