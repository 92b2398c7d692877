"""Every operation of the grammar at 50 digits: value, slope and curvature by torch, by ∇f without autograd, and proven.

The truth is mpmath's own function and its Taylor series; nothing of it is shared with the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isinf

import mpmath as mp
import pytest
import torch

from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.subject.formula import evaluate, formula

EPS = 2.0**-52
Real = Callable[[mp.mpf], mp.mpf]
UNARY: dict[str, tuple[Real, tuple[float, ...]]] = {
    "sin": (mp.sin, (-7.3, -0.4, 0.001, 1.2, 30.0)),
    "cos": (mp.cos, (-7.3, -0.4, 0.001, 1.2, 30.0)),
    "tan": (mp.tan, (-7.3, -0.4, 0.001, 1.2)),
    "asin": (mp.asin, (-0.9, -0.2, 0.5, 0.99)),
    "acos": (mp.acos, (-0.9, -0.2, 0.5, 0.99)),
    "atan": (mp.atan, (-40.0, -0.7, 0.3, 3.0)),
    "sinh": (mp.sinh, (-3.0, -0.1, 0.6, 5.0)),
    "cosh": (mp.cosh, (-3.0, -0.1, 0.6, 5.0)),
    "tanh": (mp.tanh, (-12.0, -0.3, 0.02, 0.9, 1.1, 15.0)),
    "asinh": (mp.asinh, (-9.0, -0.3, 0.6, 40.0)),
    "acosh": (mp.acosh, (1.0625, 1.5, 9.0)),
    "atanh": (mp.atanh, (-0.9, -0.2, 0.5)),
    "exp": (mp.exp, (-20.0, -0.5, 0.7, 20.0)),
    "expm1": (mp.expm1, (-5.0, -1e-8, 1e-8, 0.7)),
    "log": (mp.log, (0.003, 0.4, 2.5, 900.0)),
    "log2": (lambda x: mp.log(x, 2), (0.003, 0.4, 2.5, 900.0)),
    "log10": (mp.log10, (0.003, 0.4, 2.5, 900.0)),
    "log1p": (mp.log1p, (-0.7, -1e-8, 1e-8, 3.0)),
    "sqrt": (mp.sqrt, (0.004, 2.0, 300.0)),
    "cbrt": (lambda x: mp.sign(x) * abs(x) ** (mp.mpf(1) / 3), (-8.5, -0.02, 0.02, 30.0)),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), (-30.0, -1.5, 0.1, 2.5, 30.0)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), (-30.0, -1.5, 0.1, 2.5, 30.0)),
    "erf": (mp.erf, (-2.0, -0.1, 0.4, 1.7)),
    "erfc": (mp.erfc, (-2.0, -0.1, 0.4, 5.0)),
    "gamma": (mp.gamma, (-2.5, -0.3, 0.2, 0.7, 3.3, 9.5)),
    "lgamma": (lambda x: mp.log(abs(mp.gamma(x))), (-2.5, -0.3, 0.2, 0.7, 3.3, 40.0)),
    "abs": (abs, (-2.0, 0.3)),
}
COMPOSED: dict[str, tuple[Real, tuple[float, ...]]] = {
    "x**5": (lambda x: x**5, (-1.3, 0.2, 3.0)),
    "x**(-3)": (lambda x: x**-3, (-1.3, 0.2, 3.0)),
    "x**2.5": (lambda x: x ** mp.mpf(2.5), (0.2, 3.0)),
    "2.5**x": (lambda x: mp.mpf(2.5) ** x, (-1.3, 0.2, 3.0)),
    "x**x": (lambda x: x**x, (0.2, 1.7)),
    "(1 + x)**(2*x)": (lambda x: (1 + x) ** (2 * x), (0.2, 1.7)),
    "(x - 2)/(x**2 + 3)": (lambda x: (x - 2) / (x**2 + 3), (-1.3, 0.2, 3.0)),
    "5/x - x/7": (lambda x: 5 / x - x / 7, (-1.3, 0.2, 3.0)),
    "atan2(x, 2 - x)": (lambda x: mp.atan2(x, 2 - x), (-1.3, 0.2, 3.0)),
    "atan2(x**2, -x)": (lambda x: mp.atan2(x**2, -x), (-1.3, 0.2, 3.0)),
    "atan2(x, x - 1)": (lambda x: mp.atan2(x, x - 1), (-3.0, -0.3, 0.4)),
    "-x*sin(x) + 3": (lambda x: -x * mp.sin(x) + 3, (-1.3, 0.2, 3.0)),
    "where(x > 1, x**3, sin(x))": (lambda x: x**3 if x > 1 else mp.sin(x), (-1.3, 0.2, 3.0)),
    "where(x <= 1, x**3, sin(x))": (lambda x: x**3 if x <= 1 else mp.sin(x), (-1.3, 0.2, 3.0)),
    "max(x**2, 2*x, 1)": (lambda x: max(x**2, 2 * x, mp.mpf(1)), (-1.3, 0.2, 1.5, 3.0)),
    "min(x**2, 2*x, 1)": (lambda x: min(x**2, 2 * x, mp.mpf(1)), (-1.3, 0.2, 3.0)),
}
CASES = {**{f"{name}(x)": case for name, case in UNARY.items()}, **COMPOSED}


def series(f: Real, x: float) -> list[mp.mpf]:
    """f, f', f'', f''' at x, to 50 digits at least."""
    with mp.workdps(90):
        return [mp.diff(f, mp.mpf(x), k) if k else f(mp.mpf(x)) for k in range(4)]


@pytest.mark.parametrize("expr", CASES)
def test_every_operation(expr: str) -> None:
    f, points = CASES[expr]
    for x in points:
        function = formula(expr=expr, at=x)
        assert function.exact is not None
        truth = series(f, x)
        value, slope = value_and_gradient(function.call, function.start)
        computed = [value, slope, dense_hessian(function.call, function.start)]
        for order in range(3):
            here, following = truth[order], abs(truth[order + 1] * x)
            ball = function.exact.enclose(function.start, order)
            mid, rad = (mp.mpf(float(part.reshape(-1)[0])) for part in (ball.mid, ball.rad))
            assert abs(mid - here) <= rad + abs(here) * mp.mpf(10) ** -40, (x, order)
            size = abs(here) + mp.mpf(1e-300)
            assert isinf(float(here)) or rad <= 2 * EPS * size, (x, order)  # an ulp, whatever the operation
            off = abs(mp.mpf(float(computed[order].reshape(-1)[0])) - here)
            terms = max(abs(t) for t in truth[: order + 1]) if expr.startswith(("gamma", "lgamma")) else 0
            assert off <= 100 * EPS * (size + following + terms), (x, order, float(off / size))
        if function.exact.lean is not None:
            v, g = function.exact.lean(function.start)
            assert float(v) == pytest.approx(float(truth[0]), rel=1e-12, abs=1e-14)
            assert float(g[0]) == pytest.approx(float(truth[1]), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("expr", CASES)
def test_operations_on_constants_are_the_same(expr: str) -> None:
    """A number in the place of x is folded before the program is built, and may not become another there."""
    f, points = CASES[expr]
    for x in points:
        here = re.sub(r"\bx\b", f"({x!r})", expr)
        truth = series(f, x)[0]
        off = abs(mp.mpf(float(evaluate(here))) - truth)
        assert off <= 100 * EPS * (abs(truth) + abs(series(f, x)[1] * x)), here
        assert float(formula(expr=f"y + {here}", at=0.0).call(torch.zeros(1).double())) == float(evaluate(here))


@pytest.mark.parametrize("expr", ["x**y", "atan2(x, y)", "x/y", "x*y**3", "(x - y)**2*exp(-x*y)", "log(x + y**2)*x"])
def test_mixed_second_derivatives(expr: str) -> None:
    call: dict[str, Callable[[mp.mpf, mp.mpf], mp.mpf]] = {
        "x**y": lambda x, y: x**y,
        "atan2(x, y)": mp.atan2,
        "x/y": lambda x, y: x / y,
        "x*y**3": lambda x, y: x * y**3,
        "(x - y)**2*exp(-x*y)": lambda x, y: (x - y) ** 2 * mp.exp(-x * y),
        "log(x + y**2)*x": lambda x, y: mp.log(x + y**2) * x,
    }
    for at in ([0.7, 1.9], [2.3, -0.4]):
        function = formula(expr=expr, at=at, variables=["x", "y"])
        assert function.exact is not None
        H, ball = dense_hessian(function.call, function.start), function.exact.enclose(function.start, 2)
        with mp.workdps(60):
            point = tuple(mp.mpf(t) for t in at)
            truth = [[mp.diff(call[expr], point, n) for n in row] for row in (((2, 0), (1, 1)), ((1, 1), (0, 2)))]
        for i in range(2):
            for j in range(2):
                assert abs(mp.mpf(float(ball.mid[i, j])) - truth[i][j]) <= float(ball.rad[i, j]) + mp.mpf(10) ** -25
                assert float(ball.rad[i, j]) <= 4 * EPS * float(abs(truth[i][j])) + 1e-300
                assert float(H[i, j]) == pytest.approx(float(truth[i][j]), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("text", ["max(y, 1e90*x)", "max(1e90*x, y)", "min(-y, 1e90*x)", "max(min(y, 2), 1e90*x)"])
def test_forward_mode_keeps_the_side_that_counts(text: str) -> None:
    """However steep the other side is: torch.maximum adds and subtracts its tangent."""
    f = formula(expr=[text, "x + y"], at=[-1e-90, 1.0] if "max" in text else [1.0, 1.0])
    v = torch.tensor([0.3, 0.7], dtype=torch.float64)
    forward = torch.func.jvp(f.call, (f.start,), (v,))[1][0]
    assert abs(float(forward)) == 0.7
    assert float(torch.func.grad(lambda x: f.call(x)[0])(f.start) @ v) == float(forward)


def test_two_equal_sides_share_the_derivative() -> None:
    for text in ("max(x, y)", "min(x, y)"):
        f = formula(expr=text, at=[2.0, 2.0])
        assert torch.func.grad(f.call)(f.start).tolist() == [0.5, 0.5]
