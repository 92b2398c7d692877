"""The torch program of a formula: right derivatives of every order, under every transform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from calclab.core import Function
from calclab.subject.formula import formula
from calclab.subject.formula.tree import FUNCTIONS

# One formula for every function of one variable, with points where its derivatives are delicate.
POINTS = {
    "acosh": [1.5, 30.0],
    "asin": [0.3, -0.999],
    "acos": [0.3, -0.999],
    "atanh": [0.3, -0.999],
    "log": [0.2, 50.0],
    "log2": [0.2, 50.0],
    "log10": [0.2, 50.0],
    "log1p": [-0.9, 50.0],
    "sqrt": [0.2, 50.0],
    "cbrt": [-3.0, 0.2, 50.0],
    "gamma": [0.3, 2.0, 5.5, -1.5, -2.25],
    "lgamma": [0.3, 1.0, 2.0, 30.5, -1.5],
    "sigmoid": [-30.0, -1e-3, 0.0, 3.0, 25.0],
    "softplus": [-30.0, 0.5, 19.0, 25.0, 60.0],
    "tanh": [-19.0, -1.0, 1e-3, 1.5, 15.0],
    "expm1": [-30.0, 1e-6, 2.0],
}
UNARY = sorted(name for name, counts in FUNCTIONS.items() if counts == (1,))


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).abs() / b.abs().clamp_min(1e-300)).max()) if bool((b != 0).any()) else float(a.abs().max())


def orders(f: Function, x: Tensor) -> list[Tensor]:
    return [f.call(x), torch.func.jacrev(f.call)(x), torch.func.jacrev(torch.func.jacrev(f.call))(x)]


@pytest.mark.parametrize("name", UNARY)
def test_every_function_against_balls(name: str) -> None:
    f = formula(expr=f"{name}(x)", at=[0.7])
    assert f.exact is not None
    for at in POINTS.get(name, [0.7, -2.5]):
        x = torch.tensor([at], dtype=torch.float64)
        for order, value in enumerate(orders(f, x)):
            ball = f.exact.enclose(x, order)
            assert bool(ball.rad.isfinite().all()), (at, order)
            assert relative(value, ball.mid) < 2e-13, (at, order)


@pytest.mark.parametrize(
    ("expr", "at"),
    [
        ("atan2(y, x)", [-1.5, 0.5]),
        ("x**y", [1.3, 2.4]),
        ("max(x, y) + min(x, 2*y, 3)", [0.5, -0.2]),
        ("log(x, 3) + x**-2", [0.5]),
        ("2**x + x**(1/3) + x**2.5", [0.5]),
        ("sum(i, 0, n - 1, sum(j, 0, n - 1, x[i]*x[j]**2/(i + j + 1)))", [1.0, -2.0, 0.5]),
        ("prod(i, 0, n - 1, x[i] - i)", [0.0, 1.0, 3.0, 4.0, 5.0]),
        ("sum(i, 0, n - 1, prod(j, 0, 3, x[i] + j))", [0.5, -1.0]),
        ("sum(i, 0, 3, y*i + x) + prod(i, 1, 3, y)", [0.5, 1.5]),
        ("sum(i, 1, n/2, (x[2*i - 2] - x[2*i - 1])**2)", [1.0, 2.0, 3.0, 5.0]),
        ("sum(i, 0, n - 1, where(i == 1, x[i]**3, sin(x[i])))", [1.0, 2.0, 3.0]),
        ("sum(i, 0, n - 1, where(x[i] > 0, log(x[i]), x[i]**2))", [1.0, -2.0, 3.0]),
        ("sum(i, 5, 4, x) + x", [2.0]),
        ("sum(i, 0, n - 1, sum(j, 0, n - 1, where(j <= i, x[j], 0))**2)", [1.0, 2.0, 3.0]),
    ],
)
def test_more_formulas_against_balls(expr: str, at: list[float]) -> None:
    f = formula(expr=expr, at=at)
    assert f.exact is not None
    for order, value in enumerate(orders(f, f.start)):
        ball = f.exact.enclose(f.start, order)
        assert bool(ball.rad.isfinite().all())
        assert float((value - ball.mid).abs().max()) <= 1e-13 * float(ball.mid.abs().max().clamp_min(1e-3))


def test_branch_not_taken_poisons_nothing() -> None:
    for expr, at, right in (  # f, f', f'' of the branch taken
        ("where(x > 0, sqrt(x), x**2)", -1.0, (1, -2, 2)),
        ("where(x == 0, 1, sin(x)/x)", 0.0, (1, 0, 0)),
        ("where(x < 1, x**3, exp(exp(exp(x))))", 0.5, (0.125, 0.75, 3)),
        ("where(x > 5, log(x - 5), where(x > 0, x**2, log(x)))", 2.0, (4, 4, 2)),
    ):
        f = formula(expr=expr, at=at)
        assert [value.sum().item() for value in orders(f, f.start)][:3] == pytest.approx(right, rel=1e-15), expr
        twice = torch.func.jacfwd(torch.func.jacfwd(f.call))(f.start)
        assert twice.item() == pytest.approx(right[2], rel=1e-15), expr


@pytest.mark.parametrize(
    "expr",
    [
        "100*(x1 - x0**2)**2 + (1 - x0)**2",
        "[x0**2 + x1, tanh(x0*x1), lgamma(x0) + sigmoid(x1)]",
        "sum(i, 0, n - 1, x[i]**4) + prod(i, 0, n - 1, cos(x[i]))",
        "where(x0 > x1, log(x0), x1**2) + max(x0, 1)",
        "3",
    ],
)
def test_transforms(expr: str) -> None:
    f = formula(expr=expr, at=[0.7, 1.9])
    x = f.start
    J = torch.func.jacrev(f.call)(x)
    torch.testing.assert_close(torch.func.jacfwd(f.call)(x), J)
    H = torch.func.jacrev(torch.func.jacrev(f.call))(x)
    torch.testing.assert_close(torch.func.jacfwd(torch.func.jacrev(f.call))(x), H)
    batch = torch.stack([x, x + 0.1, x * 0.9])
    torch.testing.assert_close(torch.func.vmap(f.call)(batch), torch.stack([f.call(row) for row in batch]))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.jacrev(f.call))(batch)[1], torch.func.jacrev(f.call)(batch[1])
    )
    single = x.float()
    assert f.call(single).dtype == torch.float32
    torch.testing.assert_close(f.call(single).double(), f.call(x), rtol=1e-5, atol=1e-5)
    meta = f.call(torch.empty(2, device="meta", dtype=torch.float64))
    assert meta.device.type == "meta"
    assert meta.shape == f.call(x).shape
    leaf = x.clone().requires_grad_()
    value = f.call(leaf)
    (g,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    torch.testing.assert_close(g.detach(), J.reshape(-1, 2).sum(0))


def test_many_variables() -> None:
    n = 1000
    f = formula(expr="sum(i, 0, n - 2, 100*(x[i + 1] - x[i]**2)**2 + (1 - x[i])**2)", at=[-1.2, 1.0], n=n)
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 1)
    torch.testing.assert_close(torch.func.grad(f.call)(f.start), ball.mid, rtol=1e-13, atol=1e-10)


SINGLE = [
    *("x*2.5", "x + 2.5", "x - 2.5", "2.5 - x", "x/2.5", "2.5/x", "x**2.5", "2.5**x", "x**3*3", "x*pi", "log(x, 3)"),
    *("gamma(x)", "lgamma(x)", "lgamma(x - 3.3)", "cbrt(x)", "expm1(x)", "sigmoid(x)", "softplus(x)", "tanh(x)"),
    *("acosh(x + 2)", "asinh(x)", "atanh(x)", "asin(x)", "log2(x)", "log10(x)", "erfc(x)", "atan2(2, x)"),
    *("where(x > 0.1, x, 2)", "max(x, 0.25)", "relu(x)", "sum(i, 1, 3, i*x**i)", "sum(i, 1, 3, x)", "prod(i, 1, 3, x)"),
]


@pytest.mark.parametrize("expr", SINGLE)
def test_single_precision_stays_single(expr: str) -> None:
    """Forward mode takes a float beside a number () for float64: the program must not let it."""
    f = formula(expr=expr, at=[0.6], dtype=torch.float32)
    double = formula(expr=expr, at=[0.6])
    v = torch.ones(1)
    for order in range(3):
        call, wide = f.call, double.call
        for _ in range(order):
            call, wide = pushed(call, v), pushed(wide, v.double())
        found = call(f.start)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wide(f.start.double()), rtol=2e-4, atol=1e-5)
    for way in (torch.func.jvp(torch.func.grad(f.call), (f.start,), (v,))[1], torch.func.hessian(f.call)(f.start)):
        assert way.dtype == torch.float32


def pushed(call: Callable[[Tensor], Tensor], v: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.func.jvp(call, (x,), (v,))[1]


@pytest.mark.parametrize("branch", ["x**0.5", "x**-1", "x**2.5", "x**-0.5", "(x - 1)**-3", "log(x)", "1/x", "x**x"])
@pytest.mark.parametrize("at", [0.0, -1.5])
def test_a_branch_that_is_not_taken_leaves_no_nan_behind(branch: str, at: float) -> None:
    """0 · NaN is NaN, which the chain rule makes of a branch that has no derivative here."""
    for expr in (f"where(x > 0.5, {branch}, 3*x**2)", f"where(x <= 0.5, 3*x**2, {branch})"):
        f = formula(expr=expr, at=at)
        assert torch.func.grad(f.call)(f.start).tolist() == [6 * at], expr
        assert torch.func.hessian(f.call)(f.start).tolist() == [[6.0]], expr
