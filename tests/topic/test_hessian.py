from __future__ import annotations

import json
import math
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from calclab.core import Function, Heatmap, Verdict
from calclab.errors import UserError
from calclab.schema import catalogue
from calclab.subject.formula import formula
from calclab.topic.hessian import hessian as curvature_of
from calclab.topic.hessian.problem import DRAWN as SHOWN

KNOBS = {name: catalogue.values("topic", "hessian")[name] for name in catalogue.knobs("topic", "hessian")}
hessian = partial(curvature_of, **KNOBS)

GOOD = {Verdict.CERTIFIED, Verdict.CONSISTENT}


def f(expr: str, *at: float, **more):
    return formula(name="f", expr=expr, at=list(at), dtype=torch.float64, device="cpu", **more)


def test_the_notebooks_quadratic(walk):
    found = walk(hessian(subject=f("0.5*(x0**2 + 2*x1**2 + x0*x1)", 1, 2)))
    values, root = found.answer.values, math.sqrt(2)
    assert values["value"] == 5.5
    assert values["hessian"].tolist() == [[1, 0.5], [0.5, 2]]
    assert values["eigenvalues"].tolist() == pytest.approx([(3 - root) / 2, (3 + root) / 2], rel=1e-14)
    assert float(values["condition"]) == pytest.approx((3 + root) / (3 - root), rel=1e-14)
    assert values["conditioning"] == "well-conditioned"
    assert values["kind"].startswith("not stationary")
    assert found.verdicts <= GOOD
    assert Verdict.CERTIFIED in found.verdicts
    assert "well-conditioned" in found.answer.sentence


@pytest.mark.parametrize(
    ("expr", "at", "kind"),
    [
        ("(x-3)**2 + 5*(y+1)**2", (3, -1), "minimum"),
        ("x*y + 2*x - y", (1, -2), "saddle"),
        ("-cosh(x-1) - 2*y**2", (1, 0), "maximum"),
        ("(x-2)**2 + y**4", (2, 0), "degenerate"),
    ],
)
def test_the_kind_of_a_stationary_point(walk, expr, at, kind):
    values = walk(hessian(subject=f(expr, *at))).answer.values
    assert kind in values["kind"]
    assert "not stationary" not in values["kind"]


@pytest.mark.parametrize("at", [1e9, -3.7e12, 2.0**60, 1e22])
@pytest.mark.parametrize("expr", ["sin(x)", "cos(x) + 2", "sin(x)*cos(x)"])
def test_no_x_is_so_large_that_a_slope_is_called_stationary(walk, expr, at):
    """A callable has no proof, and is told the same."""
    proven = f(expr, at)
    assert abs(float(proven.exact.enclose(proven.start, 1).mid)) > 0.05
    for subject in (proven, Function("f", proven.call, proven.start, ("x",))):
        assert walk(hessian(subject=subject)).answer.values["kind"].startswith("not stationary")


def test_a_steep_direction_excuses_no_slope_along_a_flat_one(walk):
    """f = 1e20 (x - y)² + x has the slope 1 along (1, 1), where H is zero."""
    assert walk(hessian(subject=f("1e20*(x-y)**2 + x", 1, 1))).answer.values["kind"].startswith("not stationary")
    assert walk(hessian(subject=f("(x-1)**2 + cos(1e17*y)", 1, 1e-17))).answer.values["kind"].startswith("not")


@pytest.mark.parametrize(
    ("expr", "at", "kind"),
    [("cos(x)", math.pi, "minimum"), ("(3*x-1)**2 - (y-0.1)**2", (1 / 3, 0.1), "saddle"), ("x**2", 0, "minimum")],
)
def test_the_float_nearest_to_a_stationary_point_is_stationary(walk, expr, at, kind):
    at = at if isinstance(at, tuple) else (at,)
    assert walk(hessian(subject=f(expr, *at))).answer.values["kind"] == kind


def test_proven_signs_decide_inertia_and_kind(walk):
    values = walk(hessian(subject=f("x**2 - 1e-17*y**2", 0, 0))).answer.values
    assert values["inertia"] == "1 negative, 0 zero, 1 positive"
    assert (values["kind"], values["curvature"]) == ("saddle", "indefinite")


@pytest.mark.parametrize("seed", range(12))
def test_quadratics_of_known_signature(walk, seed):
    """Σ d_i (l_i·x)² with independent integer forms l_i has the signs of d (Sylvester), from 1e-40 to 1e20."""
    draw = random.Random(seed)
    n = draw.randint(2, 4)
    d = [draw.choice([-1, 0, 1]) * 10.0 ** draw.randint(-40, 20) for _ in range(n)]
    rows = [[1 if i == j else draw.randint(-3, 3) * (j > i) for j in range(n)] for i in range(n)]
    forms = ["+".join(f"({c})*x{j}" for j, c in enumerate(row)) for row in rows]
    subject = f("+".join(f"({c!r})*({form})**2" for c, form in zip(d, forms, strict=True)), *[0.0] * n)
    values = walk(hessian(subject=subject)).answer.values
    signs = [sum(c < 0 for c in d), sum(c == 0 for c in d), sum(c > 0 for c in d)]
    assert values["inertia"] == "{} negative, {} zero, {} positive".format(*signs)
    words = {(True, True): "saddle", (True, False): "maximum", (False, True): "minimum", (False, False): "degenerate"}
    word = words[signs[0] > 0, signs[2] > 0]
    assert values["kind"] == ("degenerate" if signs[1] and word != "saddle" else word)


def test_threshold_decides_the_word(walk):
    subject = f("x**2 + 20*y**2", 1, 1)
    assert walk(hessian(subject=subject, threshold=100)).answer.values["conditioning"] == "well-conditioned"
    assert walk(hessian(subject=subject, threshold=10)).answer.values["conditioning"] == "ill-conditioned"
    with pytest.raises(UserError, match="threshold"):
        hessian(subject=subject, threshold=0.5)


TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "public_functions.json").read_text())["items"]


@pytest.mark.parametrize("item", TRUTH, ids=lambda item: item["name"])
def test_the_condition_number_is_the_true_one_even_where_float64_cannot_give_it(item):
    subject = formula(
        name=item["name"],
        expr=item["expr"],
        at=item["point"],
        variables=item["vars"],
        dtype=torch.float64,
        device="cpu",
    )
    topic = hessian(subject=subject)
    state, _ = topic.step(topic.init(), 0)
    answer = topic.answer(state)
    if item["condition"] is None:
        assert answer.values["condition"] == "singular to working precision"
        assert "singular" in answer.sentence
    else:
        assert float(answer.values["condition"]) == pytest.approx(item["condition"], rel=1e-8)
        assert answer.values["condition_low"] <= item["condition"] * (1 + 1e-15)
        assert answer.values["condition_high"] >= item["condition"] * (1 - 1e-15)


def test_singular_is_said_and_not_numbered(walk):
    found = walk(hessian(subject=f("(x + y)**2", 1, 2)))
    assert found.answer.values["condition"] == "singular to working precision"
    assert "singular" in found.answer.sentence


def test_a_kink_has_no_hessian(walk):
    values = walk(hessian(subject=f("sqrt(x**2 + y**2)", 0, 0))).answer.values
    assert values["kind"] == "undefined"


@pytest.mark.parametrize(
    ("expr", "at", "kind", "λ"),
    [
        ("sqrt(x**4) + (y - 1)**2", (0, 1), "minimum", [2, 2]),
        ("cbrt(x**3)", (0,), "not stationary, curvature zero", [0]),
        ("exp(-sqrt(x**2 + y**2)**2)", (0, 0), "maximum", [-2, -2]),
        ("sqrt(x**4) - sqrt(y**4)", (0, 0), "saddle", [-2, 2]),
    ],
)
def test_what_only_looks_like_a_kink_has_a_measured_hessian(walk, expr, at, kind, λ):
    found = walk(hessian(subject=f(expr, *at)))
    assert found.answer.values["kind"] == kind
    assert found.answer.values["eigenvalues_measured"].tolist() == pytest.approx(λ)
    assert "(measured)" in found.answer.sentence
    assert "kink" not in found.answer.sentence
    assert not found.verdicts & {Verdict.UNDEFINED, Verdict.REFUTED}


def test_a_callables_lost_hessian_is_measured(walk):
    start = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    bell = Function("bell", lambda x: 3 * torch.exp(-(torch.linalg.norm(x - start) ** 2)), start, ("x", "y", "z"))
    found = walk(hessian(subject=bell))
    assert found.answer.values["kind"] == "maximum"
    torch.testing.assert_close(
        found.answer.values["hessian_measured"], -6 * torch.eye(3, dtype=torch.float64), atol=1e-8, rtol=0
    )
    bent = Function("bent", lambda x: x.abs().sum(), torch.tensor([0.0, 1.0], dtype=torch.float64), ("x", "y"))
    sentence = walk(hessian(subject=bent)).answer.sentence
    assert "does not exist at the point: kink in x: slope -1 from the left, 1 from the right" in sentence


def test_eigenvalues_below_float64_keep_their_sign(walk):
    """exp(-x²)'' at 30 is 4.9e-388, and proven to be positive."""
    values = walk(hessian(subject=f("exp(-x**2)", 30))).answer.values
    assert values["inertia"] == "0 negative, 0 zero, 1 positive"


def net(make_network, rows, **more):
    return make_network(lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)), rows, **more)


def test_network_hessian_is_that_of_the_closed_form(walk, make_data, make_network):
    rows = make_data(6, (3,), 1)
    found = walk(hessian(subject=make_network(lambda: nn.Linear(3, 1), rows)))
    X = torch.cat([rows.inputs, torch.ones(6, 1, dtype=torch.float64)], 1)
    torch.testing.assert_close(found.answer.values["hessian"], 2 * X.T @ X / 6, rtol=1e-12, atol=1e-14)
    assert found.verdicts <= GOOD


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_network_hessian_with_library_losses(walk, make_data, make_network, loss):
    found = walk(hessian(subject=net(make_network, make_data(6, (3,), 2), loss=loss)))
    assert found.verdicts == {Verdict.CONSISTENT}
    assert found.values[0]["eigenvalues"].shape == (14,)


def test_limit_is_said_before_the_matrix_is_formed(make_data, make_network):
    with pytest.raises(UserError, match=r"limit=10: .*14 variables.*Type limit=14"):
        hessian(subject=net(make_network, make_data(6, (3,), 2)), limit=10, matrix="always")


def test_large_matrices_are_written_not_drawn_and_larger_ones_not_written(walk, monkeypatch):
    n = SHOWN + 1
    subject = f(" + ".join(f"{i + 1}*x{i}**2" for i in range(n)), *[1.0] * n)
    λ = 2.0 * torch.arange(1, n + 1, dtype=torch.float64)
    found = walk(hessian(subject=subject))
    torch.testing.assert_close(found.values[0]["hessian"], torch.diag(λ))
    assert not [picture for picture in hessian(subject=subject).pictures() if isinstance(picture, Heatmap)]
    monkeypatch.setattr("calclab.topic.hessian.problem.WRITTEN", SHOWN)
    found = walk(hessian(subject=subject))
    assert "hessian" not in found.values[0]
    torch.testing.assert_close(found.values[0]["eigenvalues"], λ)


def test_vector_functions_are_refused():
    subject = formula(name="v", expr=["x0 + x1", "x0*x1"], at=[1.0, 2.0], dtype=torch.float64, device="cpu")
    with pytest.raises(UserError, match="jacobian"):
        hessian(subject=subject)


def test_a_step_reads_no_number_back(meta):
    topic = hessian(subject=meta(lambda x: (x**3).sum() * x[0], 4))
    _, values = topic.step(topic.init(), 0)
    assert values["hessian"].device.type == "meta"
    assert values["eigenvalues"].shape == (4,)


def test_a_kink_that_autograd_calls_flat_has_no_hessian(walk) -> None:
    f = formula(name="f", expr="abs(x)", at=[0.0], dtype=torch.float64, device="cpu")
    found = walk(hessian(subject=f, limit=10))
    assert "does not exist" in found.answer.sentence
    assert found.answer.values["kind"] == "undefined"


def test_the_telling_values_come_first(walk) -> None:
    f = formula(name="f", expr="x**2 + 3*y**2", at=[1.0, 2.0], dtype=torch.float64, device="cpu")
    told = list(walk(hessian(subject=f, limit=10)).answer.values)
    assert told[:5] == ["value", "condition", "conditioning", "kind", "eigenvalues"]
