"""A kink is said where two one-sided values differ, and nowhere else: by formulas, and by callables.

Truth is known beforehand: compositions that are smooth though they are written with roots and absolute values, and
kinks of a known jump.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf, isnan

import pytest
import torch
from torch import Tensor

from calclab.core import Function, Verdict
from calclab.numerics.agreement import worst
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.verify import check_gradient, check_hessian, known
from calclab.subject.formula import formula

Call = Callable[[Tensor], Tensor]


def point(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def callable_(call: Call, *at: float) -> Function:
    return Function("f", lambda x: call(x).reshape(()), point(*at), tuple(f"x{i}" for i in range(len(at))))


def gaps(f: Function, order: int) -> dict[int, tuple[bool | None, float]]:
    number = value_and_gradient(f.call, f.start)[1] if order == 1 else dense_hessian(f.call, f.start)
    return {k: (gap.exists, gap.value) for k, gap in known(f, f.start, order, number).items()}


SMOOTH = [  # formula, point, flat index, the derivative
    ("cbrt(x**3)", [0.0], 1, 0, 1.0),
    ("cbrt(x**3)", [0.0], 2, 0, 0.0),
    ("sqrt(x**4)", [0.0], 1, 0, 0.0),
    ("sqrt(x**4)", [0.0], 2, 0, 2.0),
    ("x**y", [0.0, 1.0], 1, 1, 0.0),
    ("sqrt((x - 3)**4) + x", [3.0], 2, 0, 2.0),
    ("exp(-sqrt(x**2 + y**2)**2)", [0.0, 0.0], 2, 3, -2.0),
    ("sqrt(x**2 + y**2)**4/8", [0.0, 0.0], 2, 1, 0.0),
    ("where(x == 0, 1, sin(x)/x)", [0.0], 2, 0, -1 / 3),
    ("1e-300*sqrt(x**4)", [0.0], 2, 0, 2e-300),
    ("sqrt(x**4) + cbrt(y**6)", [0.0, 0.0], 2, 3, 2.0),
]


@pytest.mark.parametrize(("expr", "at", "order", "k", "truth"), SMOOTH)
def test_what_only_looks_like_a_kink_is_measured(expr: str, at: list[float], order: int, k: int, truth: float) -> None:
    found = gaps(formula(expr=expr, at=at), order)
    assert found[k] == (True, pytest.approx(truth, rel=1e-14))


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("abs(x)", "kink"),
        ("max(x, 3*x)", "kink"),
        ("-sqrt(abs(x))", "kink"),
        ("where(x < 0, x, x + 1)", "kink"),
        ("cbrt(x)", "vertical"),
        ("sqrt(x)", "the function ends"),
        ("x*sqrt(x)", "the function ends"),
        ("log(x)", "not defined"),
    ],
)
def test_what_does_not_exist_has_its_reason(expr: str, reason: str) -> None:
    f = formula(expr=expr, at=[0.0])
    (gap,) = known(f, f.start, 1, f.start).values()
    assert (gap.exists, gap.reason) == (False, reason)
    assert worst(check_gradient(f, f.start, value_and_gradient(f.call, f.start)[1], 0)) is Verdict.UNDEFINED


@pytest.mark.parametrize("expr", ["where(x == 0, 0, x*sin(1/x))", "where(x == 0, 0, x/log(abs(x)))"])
def test_quotients_that_do_not_settle_prove_nothing(expr: str) -> None:
    f = formula(expr=expr, at=[0.0])
    (gap,) = known(f, f.start, 1, f.start).values()
    assert gap.exists is None
    row = check_gradient(f, f.start, point(0.0), 0)[0]
    assert (row.verdict, row.method) == (Verdict.INCONCLUSIVE, "both sides")


def test_verdicts_on_what_was_measured() -> None:
    f = formula(expr="sqrt(x**4) + cbrt(x**3)", at=[0.0])
    verdicts = [check_gradient(f, f.start, point(g), 0)[0] for g in (1.0, float("nan"), inf, 0.5)]
    assert [row.verdict.word for row in verdicts] == ["consistent", "inconclusive", "inconclusive", "suspect"]
    assert all(row.reference == 1 and "slope in x 1 from both sides" in row.note for row in verdicts)


@pytest.mark.parametrize("seed", range(30))
def test_random_compositions_of_roots_and_powers(seed: int) -> None:
    """Σ c root(u^pq), u a form of the variables that is 0 at the point, behaves like Σ c |u|^q or c u^q."""
    draw = random.Random(seed)
    n, order = draw.randint(1, 2), draw.randint(1, 2)
    at = [draw.choice([0.0, 2.0, -0.375, 1e8]) for _ in range(n)]
    terms, slopes, seconds = [], [0.0] * n, [0.0] * n
    for i in range(n):
        u, c = f"(x{i} - ({at[i]!r}))", draw.choice([-2.0, 0.5, 3.0, 1e12])
        q = draw.randint(1, 3)
        terms.append(f"({c!r})*cbrt({u}**{3 * q})" if draw.random() < 0.5 or q % 2 else f"({c!r})*sqrt({u}**{2 * q})")
        slopes[i], seconds[i] = c * (q == 1), 2 * c * (q == 2)
    f = formula(expr=" + ".join(terms), at=at, variables=[f"x{i}" for i in range(n)])
    found = gaps(f, order)
    for i in range(n):
        k, truth = (i, slopes[i]) if order == 1 else (i * (n + 1), seconds[i])
        assert found[k] == (True, pytest.approx(truth, rel=1e-12))


@pytest.mark.parametrize("seed", range(30))
def test_random_kinks(seed: int) -> None:
    """a x + b |x - c| at c: the slopes are a - |b| and a + |b|, hidden in other words for |·|."""
    draw = random.Random(seed)
    a, b, c = draw.choice([0.0, 1.0, -3.0]), 10.0 ** draw.randint(-12, 12), draw.choice([0.0, 1.0, -2.5, 1e10, 1e-200])
    u = f"(x - ({c!r}))"
    way = draw.choice(["abs({u})", "sqrt({u}**2)", "max({u}, -{u})", "(2*relu({u}) - {u})", "sqrt({u}**4)**0.5"])
    f = formula(expr=f"({a!r})*x + ({b!r})*{way.format(u=u)}", at=[c])
    assert f.exact is not None
    (gap,) = known(f, f.start, 1, f.start).values()
    assert gap.exists is False, gap
    left, right = (float(side) for side in f.exact.one_sided(f.start))
    assert (left, right) == pytest.approx((a - b, a + b), rel=1e-14)


# --- callables ------------------------------------------------------------------------------------------------------

A = point(0.3, -0.7, 1.1)
LOST: dict[str, tuple[Call, tuple[float, ...], Tensor]] = {
    "bell": (lambda x: torch.exp(-(torch.linalg.norm(x - A) ** 2)), (0.3, -0.7, 1.1), -2 * torch.eye(3).double()),
    "scaled": (lambda x: 5 * torch.exp(-(torch.linalg.norm(x - A) ** 2) / 4), (0.3, -0.7, 1.1), -2.5 * torch.eye(3)),
    "product": (lambda x: x.prod(), (1e-310, 2.0, 3.0), torch.tensor([[0, 3, 2], [3, 0, 0], [2, 0, 0]])),
    "equal": (lambda x: torch.linalg.eigvalsh(x.diag()).square().sum(), (1.0, 1.0), 2 * torch.eye(2)),
    "trace": (lambda x: torch.linalg.eigh(x.diag())[0].sum(), (2.0, 2.0, 3.0), torch.zeros(3, 3)),
    "root": (lambda x: (x**4).sum().sqrt(), (0.0, 0.0), 2 * torch.eye(2)),
}


@pytest.mark.parametrize("name", LOST)
def test_second_derivatives_that_autograd_loses_are_measured(name: str) -> None:
    call, at, truth = LOST[name]
    f = callable_(call, *at)
    H, n = dense_hessian(f.call, f.start), len(at)
    found = gaps(f, 2)
    for k, (exists, value) in found.items():
        assert exists, (k, value)
        assert value == pytest.approx(float(truth[divmod(k, n)]), abs=1e-6)
    assert {k for k, entry in enumerate(H.reshape(-1).tolist()) if not abs(entry) < inf} <= set(found)
    assert worst(check_hessian(f, f.start, H, 0)) in (Verdict.INCONCLUSIVE, Verdict.SUSPECT)


KINKS: dict[str, tuple[Call, tuple[float, ...], set[int]]] = {
    "abs": (lambda x: x.abs().sum(), (0.0, 1.0), {0}),
    "norm": (lambda x: x.norm(), (0.0, 0.0), {0, 1}),
    "largest eigenvalue": (lambda x: torch.linalg.eigvalsh(x.diag())[-1], (1.0, 1.0), {0, 1}),
    "relu": (lambda x: x.relu().sum(), (2.0, 0.0), {1}),
    "root": (lambda x: x.sqrt().sum(), (0.0, 4.0), {0}),
    "cube root": (lambda x: (x.sign() * x.abs() ** (1 / 3)).sum(), (0.0,), {0}),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_of_callables_are_measured(name: str) -> None:
    call, at, bent = KINKS[name]
    f = callable_(call, *at)
    found = gaps(f, 1)
    assert {k for k, (exists, _) in found.items() if exists is False} == bent
    assert all(exists is not True or not isnan(value) for exists, value in found.values())


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (lambda x: torch.sqrt(x**2 + 1e-30), 0.0),
        (lambda x: torch.sqrt(x**2 + 1e-200), 0.0),
        (lambda x: x.abs(), 1e-310),
        (lambda x: x.abs(), -1e-40),
        (lambda x: (x - 1e-20).relu(), 0.0),
    ],
)
def test_a_bend_that_is_only_near_is_no_kink(call: Call, at: float) -> None:
    for order in (1, 2):
        found = gaps(callable_(call, at), order)
        assert not found or found[0][0] is None


def test_a_jump_of_a_callable_has_no_slope() -> None:
    f = callable_(lambda x: torch.where(x < 0, x, x + 1), 0.0)
    (gap,) = known(f, f.start, 1, point(1.0)).values()
    assert (gap.exists, gap.note) == (False, "kink in x0: slope inf from the left, 1 from the right")


def test_a_second_derivative_that_jumps() -> None:
    found = gaps(callable_(lambda x: (x * x.abs()).sum(), 0.0, 1.0), 2)
    assert {k for k, (exists, _) in found.items() if exists is False} == {0}


def test_slopes_of_a_gradient_that_is_wrong_are_not_told() -> None:
    """torch's gradient of det is zero along the axes of a zero matrix, and its Hessian there NaN; the truth has ±1.
    Its gradient of sinc cancels near 0."""
    det = callable_(lambda x: torch.det(x.reshape(2, 2)), 0.0, 0.0, 0.0, 0.0)
    sinc = callable_(lambda x: torch.sinc(x).sum(), 0.0)
    for f, truth in ((det, {3: 1.0, 6: -1.0, 9: -1.0, 12: 1.0}), (sinc, {0: -(torch.pi**2) / 3})):
        for k, (exists, value) in gaps(f, 2).items():
            assert exists is None or value == pytest.approx(truth.get(k, 0.0), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smooth_callables_have_no_gaps(dtype: torch.dtype) -> None:
    calls: list[Call] = [
        lambda x: torch.exp(x.sin()).sum(),
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        lambda x: torch.logsumexp(20 * x, 0),
        lambda x: torch.sqrt((x**2).sum() + 1e-2),
        lambda x: x.cos().prod(),
        lambda x: (1e9 * x).sin().sum(),
    ]
    for call in calls:
        for at in ((0.0, 0.0, 0.0, 0.0), (0.3, -1.2), (1e3, 1e-3), (2.0**60, -1e18), (1.0, 1.0, 1.0)):
            x = torch.tensor(at, dtype=dtype)
            f = Function("f", call, x, tuple(f"x{i}" for i in range(len(at))))
            for order in (1, 2):
                found = gaps(f, order)  # in float32 some overflow, and that is no kink either
                assert all(exists is None for exists, _ in found.values()), (at, order)
                assert not found or dtype == torch.float32
