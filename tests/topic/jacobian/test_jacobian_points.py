"""The Jacobian at many points: each by itself, and what they say together."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import jacrev

from calclab.core import Verdict
from calclab.errors import UserError
from calclab.network.cnn import Cnn
from calclab.subject.custom import custom
from calclab.subject.formula import formula
from calclab.topic.jacobian import jacobian as jacobian_of
from calclab.topic.jacobian import measures

KNOBS = {"by": "input", "row": 0, "rows": 1, "batch": None, "layer": None, "points": None}
jacobian = partial(jacobian_of, **KNOBS, way="auto", memory=256, limit=1000, threshold=100)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))


def rows_of(net, x):
    return torch.stack([jacrev(net.row_response(0).call)(row) for row in x])


@pytest.fixture
def net(make_data, make_network):
    return make_network(perceptron, make_data(9, (3,), 3))


def test_every_row_of_the_data_by_itself(walk, net) -> None:
    found = walk(jacobian(subject=net, row=2, rows=None))
    truth = rows_of(net, net.rows[2:])
    σ = torch.linalg.svdvals(truth)
    assert len(found.values) == 7
    for k, values in enumerate(found.values):
        torch.testing.assert_close(values["entries"], truth[k].reshape(-1))
        torch.testing.assert_close(values["singular_values"], σ[k])
        torch.testing.assert_close(values["log_abs_det"], torch.linalg.det(truth[k]).abs().log())
        assert float(values["orientation"]) == float(torch.linalg.det(truth[k]).sign())
    answer = found.answer.values
    torch.testing.assert_close(answer["spectral_norm"], σ[:, 0].max())
    assert int(answer["largest_at"]) == 2 + int(σ[:, 0].argmax())
    torch.testing.assert_close(answer["sensitivity"], truth.square().mean(0).sqrt())
    torch.testing.assert_close(answer["median_condition"], (σ[:, 0] / σ[:, -1]).median())
    assert int(answer["preserved"]) + int(answer["reversed"]) == 7
    assert found.verdicts == {Verdict.CONSISTENT}


def test_the_lipschitz_constant_lies_in_its_bracket(walk, net) -> None:
    values = walk(jacobian(subject=net, rows=None)).answer.values
    low, high = float(values["lipschitz_low"]), float(values["lipschitz_high"])
    W1, _, W2, _ = net.parameters().values()
    assert high == pytest.approx(float(torch.linalg.matrix_norm(W1, 2) * torch.linalg.matrix_norm(W2, 2)))
    x, y = torch.randn(2, 2000, 3, dtype=torch.float64)
    stretched = (net.batch_outputs(x) - net.batch_outputs(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert low <= high
    assert float(stretched.max()) <= high


def test_a_convolutions_norm_bounds_it_too(walk, make_data, make_network) -> None:
    made = partial(Cnn, channels=2, blocks=1, activation="gelu")
    net = make_network(made, make_data(6, (1, 6, 6), 3, classification=True))
    values = walk(jacobian(subject=net, rows=None)).answer.values
    assert float(values["lipschitz_low"]) <= float(values["lipschitz_high"])
    conv = net.module.features[0]
    whole = jacrev(lambda z: conv(z.reshape(1, 1, 6, 6)).reshape(-1))(torch.zeros(36, dtype=torch.float64))
    norm = float(torch.linalg.matrix_norm(whole.detach(), 2))
    assert float(values["layer_norms"][0]) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("way", ["auto", "reverse", "forward", "chain"])
def test_by_parameters(walk, net, way) -> None:
    if way == "forward":
        found = walk(jacobian(subject=net, rows=2, by="parameters", way=way))
    else:
        found = walk(jacobian(subject=net, rows=3, by="parameters", way=way))
    θ = net.flatten(net.parameters())
    for k, values in enumerate(found.values):
        truth = jacrev(lambda p, k=k: net.evaluate(net.rows[k : k + 1], net.unflatten(p))[0])(θ)
        torch.testing.assert_close(values["entries"], truth.reshape(-1))
    assert found.verdicts == {Verdict.CONSISTENT}
    assert found.answer.values["way"] == ("chain" if way == "auto" else way)


def test_the_largest_singular_value_alone(walk, net) -> None:
    found = walk(jacobian(subject=net, rows=4, way="matrix_free"))
    σ = torch.linalg.svdvals(rows_of(net, net.rows[:4]))[:, 0]
    for k, values in enumerate(found.values):
        assert "singular_values" not in values
        torch.testing.assert_close(values["spectral_norm"], σ[k], rtol=1e-8, atol=0)
    assert found.verdicts == {Verdict.CONSISTENT}
    one = walk(jacobian(subject=net, limit=2))
    torch.testing.assert_close(one.answer.values["spectral_norm"], σ[0], rtol=1e-8, atol=0)
    assert one.verdicts == {Verdict.CONSISTENT}
    by = walk(jacobian(subject=net, rows=2, limit=2, by="parameters"))
    assert by.verdicts == {Verdict.CONSISTENT}


def test_a_coloured_one_that_is_not_formed_tells_its_norm(walk, make_data, make_network) -> None:
    net = make_network(partial(Cnn, channels=2, blocks=1, activation="tanh"), make_data(4, (1, 6, 6), 3))
    small = jacobian(subject=net, layer="features.0", memory=0.01, way="coloured")
    found = walk(small)
    J = jacrev(net.layer_response("features.0", 0).call)(net.rows[0])
    torch.testing.assert_close(found.answer.values["frobenius_norm"], J.norm())
    torch.testing.assert_close(found.answer.values["spectral_norm"], torch.linalg.matrix_norm(J, 2), rtol=1e-8, atol=0)
    assert int(found.answer.values["nonzero"]) == 2 * (3 * 6 - 2) ** 2
    assert found.verdicts == {Verdict.CONSISTENT}


class Mixing(nn.Module):
    """Takes the mean of the batch away: rows do not stand alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(torch.tanh(x - 0.5 * x.mean(0)))


def test_rows_that_mix_are_looked_at_alone(walk, make_data, make_network) -> None:
    net = make_network(Mixing, make_data(4, (3,), 2))
    topic = jacobian(subject=net, rows=3)
    found = walk(topic)
    assert any("one by one" in note for note in topic.notes())
    for k, values in enumerate(found.values):
        torch.testing.assert_close(values["entries"].reshape(2, 3), jacrev(net.row_response(k).call)(net.rows[k]))


EXPR = ["x**2 + y", "x*y"]


def test_points_given_and_points_drawn(walk) -> None:
    f = formula(name="f", expr=EXPR, at=[1, 2], domain=[-2, 3])
    found = walk(jacobian(subject=f, points=[[1, 2], [3.0, -1]]))
    assert [values["entries"].tolist() for values in found.values] == [[2, 1, 2, 1], [6, 1, -1, 3]]
    assert float(found.values[1]["log_abs_det"]) == pytest.approx(torch.tensor(19.0).log().item())
    assert Verdict.CERTIFIED in found.verdicts
    topic = jacobian(subject=f, points=50, seed=4)
    x = topic.problem.points
    assert bool(((x >= -2) & (x <= 3)).all())
    assert torch.equal(x, jacobian(subject=f, points=50, seed=4).problem.points)
    assert not torch.equal(x, jacobian(subject=f, points=50, seed=5).problem.points)


def test_rows_do_not_depend_on_where_a_block_begins(net) -> None:
    topic = jacobian(subject=net, rows=None)
    state, first = topic.init(), []
    for k in range(9):
        state, values = topic.step(state, k)
        first.append(values["singular_values"])
    alone = [jacobian(subject=net, row=k).step({}, 0)[1]["singular_values"] for k in range(9)]
    torch.testing.assert_close(torch.stack(first), torch.stack(alone), rtol=1e-13, atol=1e-15)


def test_kinks_are_counted(walk) -> None:
    f = formula(name="f", expr=["abs(x)", "y"], at=[1, 1])
    found = walk(jacobian(subject=f, points=[[0, 1], [1, 1]]))
    assert int(found.answer.values["undefined"]) == 1
    assert Verdict.UNDEFINED in found.verdicts


def test_a_callable_that_vmap_cannot_follow(walk) -> None:
    def branching(v):
        return torch.stack([v[0] ** 2, v[1]]) if float(v.detach()[0]) > 0 else torch.stack([v[1], v[0]])

    f = custom(name="f", callable=branching, at=[1.0, 2.0])
    topic = jacobian(subject=f, points=[[1.0, 2.0], [-1.0, 2.0]])
    found = walk(topic)
    assert [values["entries"].tolist() for values in found.values] == [[2, 0, 0, 1], [0, 1, 1, 0]]
    assert any("one by one" in note for note in topic.notes())


def test_quantiles_pass_over_what_does_not_exist() -> None:
    values = torch.tensor([3.0, torch.nan, 1.0, 2.0])
    found = measures.quantiles(values).tolist()
    assert (found[0], found[3], found[-1]) == (1, 2, 3)
    assert found == sorted(found)
    assert bool(measures.quantiles(torch.full((3,), torch.nan)).isnan().all())


def test_no_parameters_to_differentiate_by(make_data, make_network) -> None:
    net = make_network(lambda: nn.Tanh(), make_data(4, (2,), 2))
    with pytest.raises(UserError, match="no trainable parameters"):
        jacobian(subject=net, by="parameters")


class Branching(nn.Module):
    """Looks at a number of its own input: vmap cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if float(x.detach().sum()) > 0 else torch.tanh(self.layer(x))


@pytest.mark.parametrize("module", [perceptron, Branching])
def test_products_by_parameters_take_every_row_with_a_vector_of_its_own(make_data, make_network, module) -> None:
    net = make_network(module, make_data(6, (3,), 3))
    scan = jacobian(subject=net, rows=5, row=1, by="parameters", way="matrix_free")
    made, θ = scan.problem.products(0, 5), net.flatten(net.parameters())
    V, U = torch.randn(5, len(θ), dtype=θ.dtype), torch.randn(5, scan.shape[0], dtype=θ.dtype)
    pushed, pulled = made.push(V), made.pull(U)
    for b in range(5):
        row = net.rows[1 + b : 2 + b]
        J = torch.autograd.functional.jacobian(lambda p, row=row: net.evaluate(row, net.unflatten(p))[0], θ)
        torch.testing.assert_close(pushed[b], J @ V[b])
        torch.testing.assert_close(pulled[b], J.T @ U[b])
    assert scan.block > 1


def test_points_where_the_function_is_undefined_have_no_jacobian(walk) -> None:
    f = formula(name="f", expr=["log(x)", "sqrt(y)"], at=[1, 1], dtype=torch.float64, device="cpu")
    for way in ("auto", "matrix_free"):
        found = walk(jacobian_of(subject=f, **{**jacobian.keywords, "points": [[-1, 2], [1, 1], [4, 1]], "way": way}))
        assert float(found.values[0]["spectral_norm"]) != float(found.values[0]["spectral_norm"])
        assert "not finite: at 1" in found.answer.sentence
        assert int(found.answer.values["largest_at"]) == 1
        assert Verdict.REFUTED not in found.verdicts


def test_condition_numbers_of_singular_jacobians_are_not_shown(walk) -> None:
    κ, rank = torch.tensor([3.0, 1e17, 5.0]), torch.tensor([2.0, 1.0, 2.0])
    assert measures.conditions(κ, rank, 2).tolist() == [3.0, 3.0, 3.0, 3.0, 5.0, 5.0, 5.0]
    assert bool(measures.conditions(κ, torch.ones(3), 2).isinf().all())
