from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from calclab.core import Verdict
from calclab.errors import UserError
from calclab.subject.formula import formula
from calclab.topic.jacobian import jacobian as jacobian_of

jacobian = partial(
    jacobian_of,
    by="input",
    row=0,
    rows=1,
    batch=None,
    layer=None,
    points=None,
    way="auto",
    memory=256,
    limit=1000,
    threshold=100,
)

GOOD = {Verdict.CERTIFIED, Verdict.CONSISTENT}


def f(expr, *at: float):
    return formula(name="f", expr=expr, at=list(at), dtype=torch.float64, device="cpu")


def test_the_notebooks_vector_function(walk):
    found = walk(jacobian(subject=f(["x0**2 + x1", "x0*x1", "sin(x0) + cos(x1)"], 1, 2)))
    values = found.answer.values
    J = [[2, 1], [2, 1], [math.cos(1), -math.sin(2)]]
    assert [*map(list, values["jacobian"].tolist())] == [pytest.approx(row, rel=1e-15) for row in J]
    σ = values["singular_values"]
    gram = torch.tensor(J, dtype=torch.float64).T @ torch.tensor(J, dtype=torch.float64)
    assert float(σ.prod() ** 2) == pytest.approx(float(torch.linalg.det(gram)))
    assert float(σ.square().sum()) == pytest.approx(float(gram.trace()))
    assert values["shape"] == "(3, 2)"
    assert int(values["rank"]) == 2
    assert values["conditioning"] == "well-conditioned"
    assert float(values["condition"]) == pytest.approx(float(σ[0] / σ[1]), rel=1e-12)
    assert found.verdicts <= GOOD
    assert Verdict.CERTIFIED in found.verdicts
    assert any("⟨u, Jv⟩" in row.quantity for row in found.evidence)


def test_a_scalar_function_has_one_row(walk):
    found = walk(jacobian(subject=f("x**2*y", 1, 2)))
    assert found.answer.values["jacobian"].tolist() == [[4, 1]]
    assert found.verdicts <= GOOD


def test_a_loss_of_rank_is_singular(walk):
    values = walk(jacobian(subject=f(["x0 + x1", "2*x0 + 2*x1"], 1, 2))).answer.values
    assert int(values["rank"]) == 1
    assert values["condition"] == "singular to working precision"


TRUTH = json.loads((Path(__file__).parents[2] / "truth" / "public_jacobians.json").read_text())["items"]


@pytest.mark.parametrize("way", ["auto", "reverse", "forward"])
@pytest.mark.parametrize("item", TRUTH, ids=lambda item: item["name"])
def test_singular_values_rank_and_condition_are_the_true_ones(item, way):
    subject = formula(
        name=item["name"],
        expr=item["exprs"],
        at=item["point"],
        variables=item["vars"],
        dtype=torch.float64,
        device="cpu",
    )
    topic = jacobian(subject=subject, way=way)
    state, _ = topic.step(topic.init(), 0)
    values = topic.answer(state).values
    truth = torch.tensor(item["jacobian"], dtype=torch.float64)
    σ = torch.tensor(item["singular_values"], dtype=torch.float64)
    torch.testing.assert_close(values["jacobian"], truth, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(values["singular_values"], σ, rtol=0, atol=1e-12 * float(σ[0]))
    assert int(values["rank"]) == item["rank"]
    if item["condition"] is None:
        assert values["condition"] == "singular to working precision"
    else:
        assert float(values["condition"]) == pytest.approx(item["condition"], rel=1e-8)


def test_two_programs_that_round_differently_are_not_held_against_each_other(walk):
    """Cancellation leaves no digit of this slope: it is suspect, but neither forward nor reverse is refuted."""
    found = walk(jacobian(subject=f("(exp(x) - 1 - x)/x**2", 1e-5)))
    assert Verdict.SUSPECT in found.verdicts
    assert Verdict.REFUTED not in found.verdicts


def test_float32(walk):
    subject = formula(name="f", expr=["2.5*x*y", "sin(x)/3"], at=[1.5, -0.7], dtype=torch.float32, device="cpu")
    found = walk(jacobian(subject=subject))
    assert found.answer.values["jacobian"].dtype == torch.float32
    assert found.verdicts <= GOOD


def linear(make_data, make_network):
    return make_network(lambda: nn.Linear(3, 2), make_data(4, (3,), 2))


def test_linear_on_a_batch_of_one_is_the_weight_as_1_2_1_3(walk, make_data, make_network):
    net = linear(make_data, make_network)
    found = walk(jacobian(subject=net, batch=1))
    J = found.answer.values["jacobian"]
    assert found.answer.values["shape"] == "(1, 2, 1, 3)"
    torch.testing.assert_close(J[0, :, 0, :], net.parameters()["weight"])
    torch.testing.assert_close(found.answer.values["weight"], J)
    assert any("the weight" in row.method for row in found.evidence)
    assert found.verdicts == {Verdict.CONSISTENT}


def test_rows_of_a_batch_do_not_mix(walk, make_data, make_network):
    net = linear(make_data, make_network)
    found = walk(jacobian(subject=net, batch=2, row=1))
    J = found.answer.values["jacobian"]
    assert J.shape == (2, 2, 2, 3)
    assert not J[0, :, 1].any()
    assert not J[1, :, 0].any()
    torch.testing.assert_close(J[1, :, 1], net.parameters()["weight"])
    assert found.verdicts == {Verdict.CONSISTENT}


class Squashed(nn.Module):
    """One linear layer, and yet its Jacobian is not the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return torch.tanh(self.inner(x))


def test_one_linear_layer_with_something_behind_it_is_not_taken_for_the_weight(walk, make_data, make_network):
    found = walk(jacobian(subject=make_network(Squashed, make_data(4, (3,), 2))))
    assert found.verdicts == {Verdict.CONSISTENT}
    assert not any("the weight" in row.method for row in found.evidence)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_networks_jacobian_at_a_row_and_of_a_layer(walk, make_data, make_network):
    net = make_network(perceptron, make_data(5, (3,), 2))
    W1, b1, W2, _ = net.parameters().values()
    x = net.rows[3]
    slope = 1 - torch.tanh(W1 @ x + b1) ** 2
    whole = walk(jacobian(subject=net, row=3))
    torch.testing.assert_close(whole.answer.values["jacobian"], W2 @ (slope[:, None] * W1), rtol=1e-12, atol=1e-14)
    layer = walk(jacobian(subject=net, row=3, layer="1"))
    torch.testing.assert_close(layer.answer.values["jacobian"], slope[:, None] * W1, rtol=1e-12, atol=1e-14)
    assert whole.verdicts == layer.verdicts == {Verdict.CONSISTENT}


def test_wrong_knobs(make_data, make_network):
    net = make_network(perceptron, make_data(5, (3,), 2))
    for knobs, text in [
        ({"row": 5}, "row=5.*5 rows, 0 to 4.*row=4"),
        ({"row": 3, "batch": 3}, "row=2"),
        ({"layer": "7"}, "layer=7.*0, 1, 2"),
        ({"layer": "0", "batch": 1}, "do not go together"),
        ({"row": -1}, "row=-1"),
        ({"batch": 0}, "batch=0"),
        ({"rows": 6}, "rows=6.*5 rows"),
        ({"rows": 2, "batch": 2}, "Leave one out"),
        ({"by": "parameters", "batch": 2}, "do not go together"),
        ({"by": "layers", "layer": "0"}, "do not go together"),
        ({"by": "layers", "way": "chain"}, "Leave way out"),
        ({"points": 3}, "points is for functions"),
        ({"way": "coloured"}, "convolutions, pooling.*formulas"),
        ({"way": "reverse", "limit": 1}, "limit=2"),
        ({"way": "reverse", "memory": 1e-6}, "needs .* MB"),
    ]:
        with pytest.raises(UserError, match=text):
            jacobian(subject=net, **knobs)
    for points in (0, "many", [1.0, 2.0], [[1.0, 2.0]], [], [[float("nan")]], True):
        with pytest.raises(UserError, match="points="):
            jacobian(subject=f(["x**2", "x"], 1), points=[[1.0, 2.0]] if points == [1.0, 2.0] else points)
    for knobs in ({"row": 1}, {"layer": "0"}, {"batch": 1}, {"rows": 3}, {"by": "layers"}, {"by": "parameters"}):
        with pytest.raises(UserError, match="is a function"):
            jacobian(subject=f("x**2", 1), **knobs)


def test_a_step_reads_no_number_back(meta):
    topic = jacobian(subject=meta(lambda x: torch.stack([x.sum(), (x**2).sum()]), 3, ("a", "b")))
    _, values = topic.step(topic.init(), 0)
    assert values["jacobian"].device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("expr", ["x**2 + y**2 - 2*x - 4*y + 5", "sin(x + y) + (x - y)**2 - 1.5*x + 2.5*y + 1"])
def test_rounding_at_a_minimum_refutes_nothing(walk, expr: str, dtype: torch.dtype) -> None:
    at = [1.0, 2.0] if "sin" not in expr else [-0.5471975511965977, -1.5471975511965977]
    f = formula(name="f", expr=expr, at=at, dtype=dtype, device="cpu")
    found = walk(jacobian(subject=f))
    assert Verdict.REFUTED not in found.verdicts


@pytest.mark.parametrize("way", ["auto", "forward", "reverse", "matrix_free"])
@pytest.mark.parametrize(
    ("expr", "at"),
    [
        (["exp(x)", "y"], (710.0, 1.0)),
        (["log(sigmoid(x))", "log(1 - sigmoid(x))"], (40.0,)),
        (["expm1(x)/x", "log1p(y)/y"], (1e-9, 1e-9)),
        (["sqrt(x)", "y"], (1e-300, 1.0)),
    ],
)
def test_what_overflows_or_loses_digits_is_not_refuted(walk, way, expr, at) -> None:
    found = walk(jacobian(subject=f(expr, *at), way=way))
    assert Verdict.REFUTED not in found.verdicts


def test_a_large_singular_value_by_products_is_proven(walk) -> None:
    for scale in ("1e-200", "1e200"):
        found = walk(jacobian(subject=f([f"{scale}*x", f"2*{scale}*y"], 1.0, 1.0), way="matrix_free"))
        assert float(found.answer.values["spectral_norm"]) == pytest.approx(2 * float(scale), rel=1e-12)
        assert Verdict.CERTIFIED in found.verdicts
    wrong = walk(jacobian(subject=f(["(1 - cos(x))/x**2"] * 2, 1e-6), way="matrix_free"))
    assert wrong.verdicts == {Verdict.SUSPECT}


@pytest.mark.parametrize(
    ("expr", "at", "word"),
    [
        (["x", "1e-15*y", "1e15*z"], (1.0, 1.0, 1.0), "preserved"),
        (["x + y", "x + 0.999999999999999*y"], (1.0, 2.0), "reversed"),
        (["x + y", "2*x + 2*y"], (1.0, 2.0), "lost: singular to working precision"),
    ],
)
def test_orientation_that_is_proven_is_not_lost(walk, expr, at, word) -> None:
    found = walk(jacobian(subject=f(expr, *at)))
    assert found.answer.values["orientation"] == word


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.act(self.a(x)))


@pytest.mark.parametrize("way", ["auto", "reverse"])
def test_a_layer_that_is_written_over_later(walk, make_data, make_network, way) -> None:
    net = make_network(InPlace, make_data(5, (3,), 2))
    found = walk(jacobian(subject=net, layer="a", way=way))
    torch.testing.assert_close(found.answer.values["jacobian"], net.parameters()["a.weight"])
    assert found.verdicts == {Verdict.CONSISTENT}


def test_a_jacobian_that_only_looks_bent_is_measured(walk):
    f = formula(name="f", expr=["cbrt(x**3)", "y"], at=[0.0, 1.0], dtype=torch.float64, device="cpu")
    answer = walk(jacobian(subject=f)).answer
    assert answer.values["jacobian_measured"].tolist() == [[1, 0], [0, 1]]
    assert "these are the measured values" in answer.sentence
    bent = formula(name="f", expr=["abs(x)", "y"], at=[0.0, 1.0], dtype=torch.float64, device="cpu")
    assert "does not exist at the point: kink in x: slope -1" in walk(jacobian(subject=bent)).answer.sentence
