"""What a proof may cost: bounded by counting, with nothing proven where it does not suffice, and no number lost."""

from __future__ import annotations

import math

import pytest
import torch

from calclab.core import Ball
from calclab.errors import UserError
from calclab.subject.formula import formula
from calclab.subject.formula.balls import Sweep
from calclab.subject.formula.precision import BITS, ExhaustedError, climb, limited, spend, unknown
from calclab.subject.formula.unroll import STEPS, TooLargeError, unroll
from calclab.subject.links import links


def enclosed(expr: str, x: float, order: int) -> Ball:
    f = formula(expr=expr, at=1.0)
    assert f.exact is not None
    return f.exact.enclose(torch.tensor([x], dtype=torch.float64), order)


def test_it_is_counted_and_precision_costs() -> None:
    import flint

    with limited(100.0):
        spend(60)
        with pytest.raises(ExhaustedError):
            spend(60)
    with limited(100.0), flint.ctx.workprec(4 * BITS), pytest.raises(ExhaustedError):
        spend(26)
    spend(1e9)  # nothing is counted outside


def test_what_was_reached_within_the_work_is_kept() -> None:
    tries = []

    def balls() -> Ball:
        tries.append(1)
        spend(2e6 if len(tries) > 1 else 1)
        return Ball(torch.tensor(1.0), torch.tensor(0.5))

    assert float(climb(balls, ()).mid) == 1
    assert len(tries) == 2

    def dear() -> Ball:
        spend(1e9)
        raise AssertionError

    assert torch.equal(climb(dear, (2,)).rad, unknown((2,)).rad)


def test_a_long_formula_of_dear_functions_is_left_unproven() -> None:
    ball = enclosed("sum(i, 1, 100000, gamma(x*i))", 0.3, 1)
    assert math.isinf(float(ball.rad))
    assert not math.isnan(float(ball.mid))


def test_too_many_terms_are_refused_before_they_are_written_out() -> None:
    f = formula(expr=f"sum(i, 1, 1000, sum(j, 1, {STEPS // 900}, sin(x*i*j)))", at=0.3)
    with pytest.raises(TooLargeError):
        unroll(f.exact.bound)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("expr", "x"),
    [
        ("2**(2**(2**(2**(2**(2**x)))))", 1.0),
        ("x**(x**(x**(x**(x**x))))", 3.0),
        ("cos(2**(2**(2**(2**(2**x)))))", 2.0),
        ("exp(exp(exp(exp(exp(x)))))", 5.0),
    ],
)
def test_towers_are_not_known(expr: str, x: float) -> None:
    """Their exponents alone would fill the memory."""
    ball = enclosed(expr, x, 0)
    assert math.isinf(float(ball.rad)) or float(ball.rad) >= abs(float(ball.mid))


@pytest.mark.parametrize("x", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_nothing_is_proven_where_there_is_no_point(x: float, order: int) -> None:
    assert math.isnan(float(enclosed("x*x + (x*x)**2", x, order).mid))


def test_a_number_compared_with_itself_is_no_kink() -> None:
    for expr, slope in (("where(x < x, 5, x**2)", 1.0), ("where(x*2 <= x*2, x**2, 5)", 1.0), ("max(x, x)", 1.0)):
        ball = enclosed(expr, 0.5, 1)
        assert float(ball.mid) == slope
        assert float(ball.rad) == 0


def test_an_undefined_condition_is_still_undefined() -> None:
    assert math.isnan(float(enclosed("where(log(x) == log(x), 1, 2)", -1.0, 0).mid))


def test_sweeps_count() -> None:
    f = formula(expr="sin(x) + gamma(x)", at=1.5)
    tape = f.exact.tape  # type: ignore[union-attr]
    assert tape.cost > 60
    with limited(tape.cost / 2), pytest.raises(ExhaustedError):
        Sweep(tape, [1.5])


def test_branches_that_multiply_are_refused() -> None:
    """Each link uses the one before on both sides, so that ten have 3^10 copies; where only x decides they are few."""
    text = "where(h{0} > 0, log(h{0}) + 1, log(2 - h{0}))"
    doubling = ["h0 = x", *(f"h{k} = {text.format(k - 1)}" for k in range(1, 40))]
    assert links(links=doubling[:6], at=1.5).call is not None
    with pytest.raises(UserError, match="Nest fewer"):
        links(links=doubling, at=1.5)
    few = "x"
    for k in range(40):
        few = f"where(x > {k}, log({few}), x)"
    formula(expr=few, at=1.5)
