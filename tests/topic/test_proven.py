"""What every topic says of numbers that cancel, overflow, underflow or jump: the truth is mpmath's, at 120 digits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mpmath import mp, mpf

from calclab.core import Evidence, Function, Verdict
from calclab.drive import drive
from calclab.optimizer.rules import GradientDescent
from calclab.schema import catalogue
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.subject.links import links
from calclab.topic.chain import chain as chain_of
from calclab.topic.derivative import Derivative
from calclab.topic.descent import Descent
from calclab.topic.hessian import hessian as curvature_of
from calclab.topic.hessian.dense import Dense
from calclab.topic.hessian.matrix_free import MatrixFree
from calclab.topic.jacobian import jacobian as jacobian_of
from calclab.topic.jacobian.layer_scan import LayerScan
from calclab.topic.jacobian.point_scan import PointScan
from calclab.topic.partial import Partial

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def f(expr: Any, *at: float, dtype: torch.dtype = torch.float64) -> Function:
    return formula(name="f", expr=expr, at=list(at), dtype=dtype, device="cpu")


def knobs(topic: str) -> dict[str, Any]:
    return {name: catalogue.values("topic", topic)[name] for name in catalogue.knobs("topic", topic)}


def hessian(subject: Function) -> Dense | MatrixFree:
    return curvature_of(subject=subject, **knobs("hessian"))


def jacobian(subject: Function) -> PointScan | LayerScan:
    return jacobian_of(subject=subject, **knobs("jacobian"))


def descent(subject: Function, steps: int = 3) -> Descent:
    given = {
        "batch": None,
        "epochs": None,
        "sharpness": {"every": 0},
        "watch": None,
        "animation": False,
        "evidence": "full",
        "flow": None,
        "tol": 0.0,
        "lr": 0.1,
    }
    return Descent(subject=subject, optimizer=GradientDescent(), steps=steps, **given)


def row(evidence: list[Evidence], quantity: str) -> Evidence:
    return next(r for r in evidence if r.quantity == quantity)


# --- the answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "at", "value", "slope", "direction"),
    [
        ("(1 + x) - x", 1e16, "1", "0", "stay"),
        ("sqrt(x**2 + 1) - x", 1e8, "5e-09", "-5e-17", "increase x"),
        ("sin(x)/x", 1e-8, "1", "-3.33333e-09", "increase x"),
        ("(1 - cos(x))/x**2", 1e-9, "0.5", "-8.33333e-11", "increase x"),
        ("exp(1000*x)", 1.0, "1.970071e+434", "1.970071e+437", "decrease x"),
        ("exp(-1000*x)", 1.0, "5.075959e-435", "-5.075959e-432", "increase x"),
        ("exp(700*x)*exp(700*x)", 1.0, "1.028667e+608", "1.440133e+611", "decrease x"),
        ("exp(x)/exp(x)*x", 800.0, "800", "1", "decrease x"),
        ("(3*x - 1)**2", 1 / 3, "3.08149e-33", "-3.33067e-16", "increase x"),
        ("sin(x)", 3.141592653589793, "1.22465e-16", "-1", "increase x"),
        ("1e-300*x*1e-20", 1.0, "1.000000e-320", "1.000000e-320", "decrease x"),
    ],
)
def test_the_sentence_is_decided_by_the_proven_numbers(
    walk, expr: str, at: float, value: str, slope: str, direction: str
) -> None:
    found = walk(Derivative(subject=f(expr, at), steps=2, variable=None))
    sentence, values = found.answer.sentence, found.answer.values
    assert f"f({at:.6g}) = {value}" in sentence
    assert f"df/dx = {slope}" in sentence
    assert values["direction"] == direction
    assert ("f is flat along" in sentence) is (direction == "stay")
    for name, quantity in (("value", "value"), ("derivative", "∂f/∂x")):
        verdict = row(found.evidence, quantity).verdict
        assert verdict in (Verdict.CERTIFIED, Verdict.SUSPECT)
        assert (f"proven {name}" in values) is (verdict is Verdict.SUSPECT)
    assert ("(proven" in sentence) is (Verdict.SUSPECT in found.verdicts)


def test_what_input_rounding_does_is_a_note_and_no_excuse(walk) -> None:
    found = walk(Derivative(subject=f("sin(x**7)", 1e16), steps=2, variable=None))
    with mp.workdps(200):
        x = mpf(10) ** 16
        assert f"f(1e+16) = {float(mp.sin(x**7)):.6g} (proven; float64 gives" in found.answer.sentence
        assert f"df/dx = {float(7 * x**6 * mp.cos(x**7)):.6g} (proven" in found.answer.sentence
    assert "rounding x to float64 alone moves f by up to 6.1e+96" in found.answer.sentence
    assert {r.verdict for r in found.evidence} == {Verdict.SUSPECT}
    calm = walk(Derivative(subject=f("(1 + x) - x", 1e16), steps=2, variable=None))
    assert "rounding" not in calm.answer.sentence  # f is 1 whatever x is


def test_rump() -> None:
    expr = "333.75*y**6 + x**2*(11*x**2*y**2 - y**6 - 121*y**4 - 2) + 5.5*y**8 + x/(2*y)"
    topic = Partial(subject=f(expr, 77617.0, 33096.0), layer=None)
    state, _ = topic.step(topic.init(), 0)
    assert "f(77617, 33096) = -0.827396 (proven; float64 gives" in topic.answer(state).sentence
    assert row(topic.verify(state, 0), "value").verdict is Verdict.SUSPECT


def test_a_small_partial_beside_a_large_one(walk) -> None:
    found = walk(Partial(subject=f("1e20*x + (1 - cos(y))/y**2", 1.0, 1e-9), layer=None))
    assert "∂f/∂y = -8.33333e-11 (proven; float64 gives 1e+09)" in found.answer.sentence
    assert row(found.evidence, "∂f/∂x").verdict is Verdict.CERTIFIED
    assert row(found.evidence, "∂f/∂y").verdict is Verdict.SUSPECT
    assert found.answer.values["proven mixed_partials"][1, 1] == pytest.approx(-1 / 12, rel=1e-12)
    single = walk(Partial(subject=f("x - y*(sqrt(x**2 + 1) - x)", 1e8, 3.0, dtype=torch.float32), layer=None))
    assert "float32 gives" in single.answer.sentence


def test_a_hessian_that_cancels(walk) -> None:
    found = walk(hessian(f("expm1(x)/x", 1e-9)))
    assert "eigenvalues = 0.333333 (proven)" in found.answer.sentence
    assert found.answer.values["proven hessian"].item() == pytest.approx(1 / 3, rel=1e-8)
    assert row(found.evidence, "hessian").verdict is Verdict.SUSPECT
    assert row(found.evidence, "eigenvalues").verdict is Verdict.SUSPECT


def test_a_jacobian_that_cancels_in_one_entry(walk) -> None:
    found = walk(jacobian(f(["x*y", "1e9*x + (1 - cos(y))/y**2"], 2.0, 1e-9)))
    assert row(found.evidence, "jacobian").verdict is Verdict.SUSPECT
    assert "at [1, 1]; 1 of 4 entries" in row(found.evidence, "jacobian").note
    assert found.answer.values["proven jacobian"][1, 1] == pytest.approx(-1e-9 / 12, rel=1e-8)
    assert found.answer.values["proven value"][1] == pytest.approx(2e9 + 0.5)


def test_links_that_are_right_one_by_one(walk) -> None:
    chain = chain_of(subject=links(name="f", links=["h = x + 1e16", "f = h - 1e16"], at=[1.0], **PLACE))
    found = walk(chain)
    assert "value = 1 (proven; float64 gives 0)" in found.answer.sentence
    assert Verdict.SUSPECT in found.verdicts


def test_a_descent_says_the_loss_that_is_proven() -> None:
    topic = descent(f("sqrt(x**2 + 1) - x", 1e8))
    scan = drive(topic, [MemorySink()])
    assert "→ 5e-09 (proven; float64 gives 0)" in topic.answer(scan.state).sentence
    assert {r.verdict for r in scan.evidence} == {Verdict.SUSPECT}
    plain = descent(f("(x - 1/3)**2 + 2*(y + x)**2", 1.0, 1.0), steps=80)
    scan = drive(plain, [MemorySink()])
    assert {r.verdict for r in scan.evidence} == {Verdict.CERTIFIED}  # gaps are relative to the start, as is said
    assert "proven" not in plain.answer(scan.state).sentence


@pytest.mark.parametrize(
    ("expr", "at", "undefined", "said"),
    [
        ("sqrt(a) + b", (-1.0, 2.0), {"∂f/∂a", "∂f/∂b", "value"}, "f(-1, 2) = undefined"),
        ("log(a) + b", (0.0, 2.0), {"∂f/∂a", "∂f/∂b", "value"}, "f(0, 2) = undefined"),
        ("1/a + b", (0.0, 2.0), {"∂f/∂a", "∂f/∂b", "value"}, "f(0, 2) = undefined"),
        ("gamma(a) + b", (-1.0, 2.0), {"∂f/∂a", "∂f/∂b", "value"}, "f(-1, 2) = undefined"),
        ("atan2(b, a)", (-1.0, 0.0), {"∂f/∂b"}, "∂f/∂a = 0"),
        ("b*sign(a)", (0.0, 2.0), {"∂f/∂a"}, "∂f/∂b = 0"),
        ("where(a > 1, a + 1, a) + b", (1.0, 2.0), {"∂f/∂a"}, "∂f/∂b = 1"),
        ("exp(a) + b", (1000.0, 2.0), set(), "∂f/∂a = 1.970071e+434"),
        ("log(exp(a) + exp(b))", (1000.0, 1001.0), set(), "f(1000, 1001) = 1001.31 (proven; float64 gives inf)"),
    ],
)
def test_what_is_no_number_is_undefined_or_proven_and_never_refuted(
    walk, expr: str, at: tuple[float, ...], undefined: set[str], said: str
) -> None:
    found = walk(Partial(subject=f(expr, *at), layer=None))
    assert Verdict.REFUTED not in found.verdicts
    lost = {r.quantity for r in found.evidence if r.verdict is Verdict.UNDEFINED}
    assert {name for name in lost if name == "value" or name.startswith("∂")} == undefined
    assert said in found.answer.sentence
    for topic in (hessian(f(expr, *at)), jacobian(f([expr, "a*b"], *at))):
        assert Verdict.REFUTED not in walk(topic).verdicts


# --- generated ------------------------------------------------------------------------------------------------------

Truth = Callable[[Any], Any]
CANCELLING: list[tuple[str, Truth]] = [
    ("(1 - cos(x))/x**2", lambda x: (1 - mp.cos(x)) / x**2),
    ("(exp(x) - 1 - x)/x**2", lambda x: (mp.exp(x) - 1 - x) / x**2),
    ("(x + {c}) - x", lambda x, c: (x + c) - x),
    ("sqrt(x**2 + {c}) - x", lambda x, c: mp.sqrt(x**2 + c) - x),
    ("log(1 + x)/x", lambda x: mp.log(1 + x) / x),
    ("(x - {c})**3 - x**3 + 3*{c}*x**2", lambda x, c: (x - c) ** 3 - x**3 + 3 * c * x**2),
    ("sinh(x) - cosh(x) + {c}*x", lambda x, c: mp.sinh(x) - mp.cosh(x) + c * x),
    ("tanh(x) - 1", lambda x: mp.tanh(x) - 1),
    ("exp(-x)*exp(x + {c})", lambda x, c: mp.exp(-x) * mp.exp(x + c)),
    ("1/(1 + x) - 1/x", lambda x: 1 / (1 + x) - 1 / x),
    ("atan(x + {c}) - atan(x)", lambda x, c: mp.atan(x + c) - mp.atan(x)),
    ("sin(x + {c}) - sin(x)", lambda x, c: mp.sin(x + c) - mp.sin(x)),
    ("x**9*{c} - x**9*{c} + x", lambda x, c: x),
    ("erfc(x)/exp(-x**2)", lambda x: mp.erfc(x) * mp.exp(x**2)),
]


def cancelling(seed: int) -> tuple[str, float, Truth]:
    draw = random.Random(seed)
    text, truth = draw.choice(CANCELLING)
    c = float(f"{10 ** draw.uniform(-3, 3):.3g}")
    sign = -1 if draw.random() < 0.2 and "log" not in text else 1
    at = sign * float(f"{10 ** draw.uniform(-12, 12):.4g}")
    return text.format(c=c), at, (lambda x: truth(x, mpf(c))) if "{c}" in text else truth


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_certified_is_true_and_suspect_says_the_truth(dtype: torch.dtype) -> None:
    rule = {torch.float64: 1e-10, torch.float32: 1e-4}[dtype]
    seen: dict[Verdict, int] = {}
    for seed in range(60):
        expr, at, truth = cancelling(seed)
        subject = f(expr, at, dtype=dtype)
        topic = Derivative(subject=subject, steps=1, variable=None)
        state = topic.init()
        answer, evidence = topic.answer(state), topic.verify(state, 0)
        with mp.workdps(1000):  # exp(-1e12) and the like lie far out
            x = mpf(float(subject.start))
            right = [truth(x), mp.diff(truth, x, h=mpf(10) ** -300)]
        for value, number, r in zip(right, (state["value"], state["gradient"][0]), evidence, strict=True):
            seen[r.verdict] = seen.get(r.verdict, 0) + 1
            assert r.verdict is not Verdict.REFUTED, (seed, expr, at, r)
            if r.verdict is Verdict.CERTIFIED:
                assert abs(mpf(float(number)) - value) <= rule * abs(value), (seed, expr, at, r)
            elif r.verdict is Verdict.SUSPECT:
                assert abs(value) < 1e-300 or f"{float(value):.6g}" in answer.sentence, (seed, expr, at, r)
    assert seen[Verdict.CERTIFIED] > 20
    assert seen[Verdict.SUSPECT] > 20


def test_another_program_that_overflows_refutes_nothing_that_is_proven(walk) -> None:
    """Forward mode takes max as y + (x - y) on the side that is taken, whose tangents cancel where x y is huge."""
    found = walk(jacobian(f(["max(x, y, x*y)", "max(100*y, y, 100*y*y)"], -8.748e219, 1e-05)))
    assert row(found.evidence, "jacobian").verdict is Verdict.CERTIFIED
    assert Verdict.REFUTED not in found.verdicts


def test_a_side_of_zero_that_is_not_proven_is_not_told(walk) -> None:
    found = walk(Derivative(subject=f("sin(x)**2 + cos(x)**2", 1.0), steps=2, variable=None))
    assert found.answer.values["direction"] == "unknown"
    assert "flat" not in found.answer.sentence
    assert "which way makes f smaller was not proven" in found.answer.sentence
    assert row(found.evidence, "∂f/∂x").verdict is Verdict.INCONCLUSIVE
    tiny = walk(Derivative(subject=f("(1 + 1e-300*x) - 1", 1.0), steps=2, variable=None))
    assert tiny.answer.headline.startswith("decrease x to make f smaller")
    assert "f(1) = 1e-300 (proven; float64 gives 0); df/dx = 1e-300" in tiny.answer.sentence
