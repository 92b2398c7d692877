"""Closed forms: what is shown is the derivative, it is short or refused, and refusing takes no time."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import pytest
from mpmath import mp, mpf

from calclab.core import Function
from calclab.subject.formula import formula
from calclab.subject.formula.closed import derivatives, refusal
from calclab.subject.formula.exact import FormulaExact
from calclab.subject.formula.symbols import LONG, SIZE, SLOPES, Symbols, UnreadableError
from calclab.subject.links import links

TRUTH = Path(__file__).parents[1] / "truth"
TABLES = {
    entry["name"]: entry
    for name in ("public_functions", "public_jacobians")
    for entry in json.loads((TRUTH / f"{name}.json").read_text())["items"]
}
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
NAMED: dict[str, Callable[[Any], Any]] = {
    "abs": abs,
    "log2": lambda a: mpmath.log(a, 2),
    "log10": lambda a: mpmath.log(a, 10),
    "cbrt": lambda a: mpmath.sign(a) * mpmath.cbrt(abs(a)),
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
    "lgamma": lambda a: mpmath.log(abs(mpmath.gamma(a))),
    "trigamma": lambda a: mpmath.psi(1, a),
}


def number_at(w: Symbols, root: int, x: list[float]) -> Any:
    """The value of an expression in mpmath."""
    values: dict[int, Any] = {}
    for k in w.below([root]):
        node = w.nodes[k]
        args = [values[a] for a in node.args]
        match node.op:
            case "number":
                number = w.numbers[k]
                values[k] = mpf(number.numerator) / number.denominator if isinstance(number, Fraction) else mpf(number)
            case "x":
                values[k] = mpf(x[int(node.value)])
            case "pi":
                values[k] = mp.pi + 0
            case "sum":
                values[k] = mpmath.fsum(args)
            case "product":
                values[k] = mpmath.fprod(args)
            case "power":
                values[k] = args[0] ** args[1]
            case "select":
                values[k] = args[2] if COMPARED[node.text](args[0], args[1]) else args[3]
            case op:
                values[k] = (NAMED.get(op) or getattr(mpmath, op))(*args)
    return values[root]


def exact(f: Function) -> FormulaExact:
    assert isinstance(f.exact, FormulaExact)
    return f.exact


def agrees(f: Function, order: int) -> bool:
    """Whether every closed form is what the ball says, to the rounding of its folded constants."""
    tape = exact(f).tape
    assert tape is not None
    w, found = derivatives(tape.steps, order)
    ball = exact(f).enclose(f.start, order)
    with mp.workdps(60):
        for at, k in found.items():
            mid = float(ball.mid[at if f.outputs else at[1:]])
            if abs(number_at(w, k, f.start.tolist()) - mid) > 1e-13 * (abs(mid) + float(ball.mid.abs().max())):
                return False
    return True


POINTS = {"asin": 0.3, "acos": 0.3, "atanh": 0.3, "acosh": 1.7, "digamma": 1.7}
EVERY = [
    *(f"{op}({{}}*x)" for op in SLOPES if op not in ("digamma", "trigamma")),
    "sqrt({}*x)",
    "({}*x)**0.3",
    "({}*x)**3",
    "x**({}*x)",
    "2**({}*x)",
    "1/(1 + {}*x**2)",
    "x/(3*{}*x + 1)**2",
    "where(x < {}, x**3, x)",
    "where(x >= {}, sin(x), exp(x))*x",
    "max({}*x, x**2)",
    "min(3, {}*x)*x",
    "relu({}*x)*x",
    "abs(x)*{}*x",
    "atan2({}*x, 1 - x)",
    "prod(i, 1, 4, x + {}*i)",
    "((x - {})*2 - (x - 3))**2*(x - x**2)/3 - x",
    "sqrt(x)*x**2*x/x**{}",
    "pi*x**2*0.1 + {}",
]


@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("factor", ["0.7", "1.1"])
def test_it_is_the_derivative(form: str, factor: str) -> None:
    op = form.split("(")[0]
    f = formula(expr=form.format(factor), at=POINTS.get(op, 0.6) / float(factor) if op in POINTS else 0.6)
    assert agrees(f, 1)
    assert agrees(f, 2)


@pytest.mark.parametrize("name", TABLES)
def test_it_is_the_derivative_in_the_tables(name: str) -> None:
    entry = TABLES[name]
    f = formula(name=name, expr=entry.get("expr", entry.get("exprs")), at=entry["point"])
    for order in (1, 2) if f.scalar else (1,):
        try:
            assert agrees(f, order)
        except UnreadableError:
            assert len(f.exact.latex) > 40 or len(f.variables) > 5  # type: ignore[union-attr]


def lines(expr: str, order: int = 1) -> list[str]:
    return exact(formula(expr=expr)).derivative_latex(order)


def test_it_reads_as_one_would_write_it() -> None:
    assert lines("0.1*x**2 + y") == [
        r"\frac{\partial f}{\partial x} = 0.2 x",
        r"\frac{\partial f}{\partial y} = 1",
    ]
    assert lines("x**3/3 - x") == ["f'(x) = x^{2} - 1"]
    assert lines("x*x*x", 2) == ["f''(x) = 6 x"]
    assert lines("sigmoid(x)") == [r"f'(x) = \sigma\left(x\right) \left(1 - \sigma\left(x\right)\right)"]
    assert lines("tanh(x)") == [r"f'(x) = 1 - \tanh^{2}\left(x\right)"]
    assert lines("log(cosh(x))") == [r"f'(x) = \frac{\sinh\left(x\right)}{\cosh\left(x\right)}"]
    assert lines("acosh(x)") == [r"f'(x) = \frac{1}{\sqrt{x^{2} - 1}}"]
    assert lines("abs(x)") == [r"f'(x) = \operatorname{sign}\left(x\right)"]
    assert lines("sqrt(x)") == [r"f'(x) = \frac{1}{2 \sqrt{x}}"]
    assert lines("-(1 - x)**2") == ["f'(x) = 2 - 2 x"]


def horner(depth: int) -> str:
    text = "x"
    for _ in range(depth):
        text = f"({text}*x + x)"
    return text


def nested(function: str, depth: int, inner: str = "x") -> str:
    return f"{function}(" * depth + inner + ")" * depth


@pytest.mark.parametrize(
    "expr",
    [
        horner(14),
        horner(60),
        nested("exp(-exp", 30).replace("exp(x", "exp((x") + ")" * 31,
        nested("sigmoid", 80),
        "*".join(f"sin({k}*x)" for k in range(1, 600)),
        "+".join(f"sin({k}*x)" for k in range(1, 600)),
        "sum(i, 0, n - 1, sin(x[i])**2)",
    ],
)
def test_what_is_long_is_refused_before_it_grows(expr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in nodes asked for, not in seconds."""
    made = 0
    add = Symbols.add

    def counted(self: Symbols, *args: Any, **named: Any) -> int:
        nonlocal made
        made += 1
        return add(self, *args, **named)

    monkeypatch.setattr(Symbols, "add", counted)
    f = formula(expr=expr, n=200 if "[" in expr else None)
    assert exact(f).derivative_latex(2) == [refusal(LONG)]
    assert made < 50 * SIZE


def test_links_that_double_are_refused() -> None:
    """Sixty squarings written out are 2^60 factors."""
    f = links(links=["h0 = x", *[f"h{k} = h{k - 1}*h{k - 1}*0.5 + 0.5" for k in range(1, 60)]], at=1.0)
    assert exact(f).derivative_latex(1) == [refusal(LONG)]


def test_numbers_beyond_float64_are_refused() -> None:
    assert lines("1e300*x*1e7") == [r"f'(x) = 10^{307}"]
    assert "no closed form: its numbers" in lines("1e300*x*1e9")[0]
