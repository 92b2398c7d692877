"""What is said of where a walk on a function ended: every word, and every piece of advice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.core import Function, Rule, Status
from calclab.drive import drive
from calclab.optimizer.newton import Newton
from calclab.optimizer.rules import GradientDescent, Momentum
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def descent(f: Function, lr: float, steps: int, tol: float = 1e-8, rule: Rule | None = None) -> Descent:
    return Descent(
        subject=f,
        optimizer=rule or GradientDescent(),
        lr=lr,
        steps=steps,
        tol=tol,
        batch=None,
        epochs=None,
        sharpness={"every": 0},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )


def told(topic: Descent) -> tuple[str, str]:
    """The word and the sentence."""
    answer = topic.answer(drive(topic, []).state)
    return str(answer.values["ended"]), answer.sentence


WORDS = [
    ("x**2 + y**2", [1, 2], 0.1, 500, "minimum", "Hessian: eigenvalues 2, 2"),
    ("-cos(x)", [1.0], 0.5, 500, "minimum", "a minimum at "),
    ("(x - 1)**4", [1.001], 0.1, 9, "minimum", "a minimum at "),  # λ > 0 is proven, and Newton's steps lead there
    ("1e20*cos(x)", [3], 1e-20, 9, "minimum", "a minimum at "),  # ‖g‖ is 1.2e4 at the float nearest to π
    ("x**2 - y**2 + y**4", [1, 0], 0.1, 500, "saddle", "1 of 2 directions go down; next: start a little elsewhere"),
    ("x**2 - 1e-17*y**2 + y**4", [1, 0], 0.1, 500, "saddle", "1 of 2 directions go down"),
    ("x**2 - y**2", [1, 0], 0.1, 500, "saddle", "falls for ever: it has no minimum and no stable lr"),
    ("cos(x)", [0], 0.1, 5, "maximum", "Hessian: eigenvalues -1; next: start a little elsewhere"),
    ("x**2 + 0*y", [1, 2], 0.1, 500, "flat", "they do not tell what the point is"),
    ("1e-9*sin(x)", [0.5], 0.1, 9, "stationary", "no stationary point is near; next: type a smaller tol"),
    ("1e-10*x**2", [1], 0.1, 9, "stationary", "type a smaller tol"),
    ("x**2 + y**2", [1, 2], 0.001, 5, "moving", "steps more would do"),
    ("x", [1], 0.1, 9, "moving", "did not change in the last step, as on a straight slope"),
    ("log(1 + x**2)", [3], 0.01, 2, "moving", "the gradient grew in the last step"),
    ("exp(x)", [-16], 1e-3, 9, "moving", "the gradient hardly shrinks: take a larger lr"),
    ("(1 + x) - x + 0*x", [1e17], 0.1, 3, "flat", "a flat point at "),
    ("x**2 + y**2", [1, 2], 5.0, 500, "diverged", "the largest stable lr is 1: try lr=0.5"),
    ("x**4", [10], 1.0, 50, "diverged", "the largest stable lr at the start is 0.00166667: try lr=0.000833333"),
    (
        "x**4 - 9*x**2 + 2*y**2",
        [0, 1],
        9.0,
        50,
        "diverged",
        "f also curves downwards, and steps overshoot beyond lr=0.5",
    ),
    ("x**2 - y**2", [1, 1], 0.1, 500, "diverged", "falls for ever: it has no minimum and no stable lr"),
    ("x**2 - y**2", [1, 1], 30.0, 500, "diverged", "falls for ever: it has no minimum and no stable lr"),
    ("-x**2", [1], 0.1, 500, "diverged", "no stable lr"),
    ("x**3", [-1], 0.1, 500, "diverged", "has no lowest value on this way, whatever lr"),
    (
        "log(x) + y**2",
        [1, 2],
        5.0,
        50,
        "nonfinite",
        "A shorter step would have stayed; next: at the start f also curves downwards",
    ),
    (
        "sqrt(x)",
        [0],
        0.1,
        5,
        "nonfinite",
        "slope none from the left, inf from the right. lr is not the cause; next: type another function.at",
    ),
    ("x**2*exp(1000*x)", [2], 0.1, 5, "nonfinite", "lr is not the cause; next: type another function.at"),
]


@pytest.mark.parametrize(("expr", "at", "lr", "steps", "word", "advice"), WORDS)
def test_every_word_and_its_advice(expr: str, at: list[float], lr: float, steps: int, word: str, advice: str) -> None:
    found, sentence = told(descent(formula(name="f", expr=expr, at=at, **PLACE), lr, steps))
    assert found == word
    assert advice in sentence


def test_a_large_x_makes_no_slope_a_stationary_point() -> None:
    """At 1e9 the slope of sin is 0.838; ulps of x times curvature are 1e-7."""
    for at in (1e9, 1e12, -3e15):
        f = formula(name="f", expr="sin(x)", at=[at], **PLACE)
        assert told(descent(f, 1e-30, 2))[0] == "moving"


def test_a_gradient_that_floating_point_loses_is_not_a_minimum() -> None:
    f = formula(name="f", expr="(sqrt(x**2 + 1) - x)*1e6 + 1e-3*(y - 1)**2", at=[1e8, 1], **PLACE)
    word, sentence = told(descent(f, 1e-9, 2, tol=1e-3))
    assert word != "minimum", sentence


def test_a_walk_down_a_bottomless_quadratic_is_told_so_before_it_diverges() -> None:
    word, sentence = told(descent(formula(name="f", expr="x**2 - y**2", at=[1, 1], **PLACE), 0.1, 20))
    assert word == "moving"
    assert "it has no minimum and no stable lr" in sentence


def test_tol_zero_is_said_to_end_nothing() -> None:
    f = formula(name="f", expr="x**2", at=[1], **PLACE)
    assert "tol=0 never ends a run" in told(descent(f, 0.1, 3, tol=0.0))[1]


def test_where_rounding_is_reached_before_tol_the_kind_is_still_told() -> None:
    f = formula(name="f", expr="1e12*(x - 1/3)**2", at=[1], **PLACE)
    assert told(descent(f, 4e-13, 300, tol=1e-12))[0] == "minimum"


def test_of_many_variables_topic_hessian_tells_the_kind() -> None:
    f = Function("f", lambda x: (x * x).sum(), torch.ones(201, dtype=torch.float64), tuple(f"x{i}" for i in range(201)))
    word, sentence = told(descent(f, 0.4, 100))
    assert word == "stationary"
    assert "topic=hessian" in sentence


def test_a_callable_is_judged_as_a_formula_is() -> None:
    start = torch.tensor([1e9], dtype=torch.float64)
    assert told(descent(Function("f", lambda x: x.sin().sum(), start, ("x",)), 1e-30, 2))[0] == "moving"
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    saddle = Function("f", lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, start, ("x", "y"))
    assert told(descent(saddle, 0.1, 500))[0] == "saddle"


@pytest.mark.parametrize("rule", [GradientDescent(), Momentum(momentum=0.9)])
@pytest.mark.parametrize("expr", ["x**2 - y**2", "x*y + 3*x", "x**2 - 0.02*y**2", "-x**2 - y", "x**2 + 5*x*y + y**2"])
def test_an_indefinite_quadratic_has_no_stable_lr_and_diverges_as_announced(rule: Rule, expr: str) -> None:
    f = formula(name="f", expr=expr, at=[0.3, 0.7], **PLACE)
    topic = descent(f, 0.05, 200_000, rule=rule)
    (note,) = topic.notes()
    assert "no stable learning rate, and this run must diverge" in note
    scan = drive(topic, [])
    assert scan.status is Status.DIVERGED
    assert "largest_stable_lr" not in topic.answer(scan.state).values


def test_newton_goes_to_the_saddle_of_an_indefinite_quadratic() -> None:
    """For its rule |1 - lr| is the contraction in every direction, whatever the sign of λ."""
    f = formula(name="f", expr="x**2 - y**2", at=[0.3, 0.7], **PLACE)
    topic = descent(f, 0.9, 100, rule=Newton(limit=10))
    assert not topic.notes()
    assert told(topic)[0] == "saddle"


def test_a_tiny_negative_eigenvalue_is_no_stable_direction() -> None:
    f = formula(name="f", expr="x**2 - 1e-17*y**2", at=[1, 1], **PLACE)
    (note,) = descent(f, 0.1, 5).notes()
    assert "no minimum and no stable learning rate, and this run may end at a saddle" in note
    flat = formula(name="f", expr="(x + 2*y)**2", at=[1, 1], **PLACE)  # its λ are 0 and 10, in floats -1e-16 and 10
    assert not descent(flat, 0.1, 5).notes()


@pytest.mark.parametrize("expr", ["x**1.5", "x**0.5 + x", "abs(x)**1.5 + y**2", "(x**2)**0.7", "x**(1/2)*x", "x**-1"])
def test_a_fractional_power_is_no_quadratic(expr: str) -> None:
    """Nothing "must diverge" there: the curvature falls on the way."""
    f = formula(name="f", expr=expr, at=[1.5] * (1 + ("y" in expr)), **PLACE)
    assert f.exact is not None
    assert f.exact.degree == float("inf")
    assert not any("must" in note or "everywhere" in note for note in descent(f, 100.0, 2).notes())


@pytest.mark.parametrize(("expr", "degree"), [("x**2*y", 3), ("(x + y)**2/3 - 2", 2), ("x + 4", 1), ("x**0 + 2", 0)])
def test_degrees_of_polynomials(expr: str, degree: float) -> None:
    f = formula(name="f", expr=expr, **PLACE)
    assert f.exact is not None
    assert f.exact.degree == degree


@pytest.mark.parametrize(
    ("expr", "at", "word", "why"),
    [
        ("(x - 1)*abs(x - 1)*0 + abs(x - 1)**1.5", [1], "stationary", "does not exist at the point: vertical in x"),
        ("x*abs(x)", [0], "stationary", "kink in x: slope of ∂f/∂x -2 from the left, 2 from the right"),
        ("sqrt(x**4)", [0], "nonfinite", "no number of the float program: slope in x 0 from both sides, measured"),
        ("sqrt(abs(x))", [0], "nonfinite", "kink in x: slope -inf from the left, inf from the right"),
        ("sqrt(x)", [0], "nonfinite", "the function ends here in x"),
    ],
)
def test_why_there_is_no_derivative_is_told_where_it_is_known(expr: str, at: list[float], word: str, why: str) -> None:
    found, sentence = told(descent(formula(name="f", expr=expr, at=at, **PLACE), 0.1, 3))
    assert (found, why in sentence) == (word, True), sentence


def test_a_gradient_that_underflows_has_not_vanished() -> None:
    """1e300 exp(-x) at 750: the float program gives 0, and the slope is -1e300 exp(-750)."""
    word, sentence = told(descent(formula(expr="1e300*exp(-x)", at=[750.0]), 0.1, 3, tol=1e-60))
    assert word == "moving"
    assert "the float program's gradient has vanished, and the proven one has norm 1.9" in sentence


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("erfc(x**2)**1.5", 2.696),
        ("exp(-x)", 20.0),
        ("exp(-x**2)", 5.0),
        ("1/x", 1e9),
        ("atan(-x)", 1e8),
    ],
)
def test_a_function_that_only_dies_out_has_no_minimum_where_its_slope_is_below_tol(text: str, at: float) -> None:
    assert told(descent(formula(expr=text, at=[at], **PLACE), 1e-3, 3))[0] == "stationary"


def test_a_curvature_below_float64_excuses_no_slope() -> None:
    f = formula(expr="atan2(x, y)", at=[1.7e294, 1.5], **PLACE)
    assert told(descent(f, 1e-3, 3))[0] == "stationary"


@pytest.mark.parametrize("power", [2, 4, 6, 8, 10])
def test_a_flat_minimum_is_one_also_at_some_distance(power: int) -> None:
    f = formula(expr=f"(x - 1)**{power}", at=[1 + 1e-9 ** (1 / (power - 1)) / 2], **PLACE)
    assert told(descent(f, 1e-3, 3))[0] == "minimum"
