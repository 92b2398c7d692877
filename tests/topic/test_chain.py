from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from calclab.core import Evidence, Verdict
from calclab.subject.formula import formula
from calclab.subject.links import links
from calclab.topic.chain import chain
from calclab.topic.chain.accumulation import accumulated, structure
from calclab.topic.chain.links import of_product
from calclab.topic.chain.tree import tree

GOOD = {Verdict.CERTIFIED, Verdict.CONSISTENT}


def linked(*texts: str, at: list[float]):
    return links(name="f", links=list(texts), at=at, dtype=torch.float64, device="cpu")


def test_the_notebooks_composition_has_links_4_5_125_and_slope_300(walk):
    found = walk(chain(subject=linked("h = x**2", "g = h + 1", "f = g**3", at=[2.0])))
    values = found.answer.values
    assert values["values"].tolist() == [4, 5, 125]
    assert values["locals"].tolist() == [4, 1, 75]
    assert values["products"].tolist() == [4, 4, 300]
    assert values["derivative"] == values["autodiff"] == 300
    assert "75 · 1 · 4 = 300" in found.answer.sentence
    assert [float(row["product"]) for row in found.values] == [4, 4, 300]
    assert found.verdicts <= GOOD
    assert Verdict.CERTIFIED in found.verdicts
    assert {row.step for row in found.evidence} == {0, 1, 2}


def test_vector_links_multiply_as_matrices(walk):
    f = linked("h = [x0*x1, sin(x0), x1**2]", "f = h0*h1 + h2", at=[0.7, -1.3])
    found = walk(chain(subject=f))
    J = found.answer.values["derivative"]
    a, b = 0.7, -1.3  # f = x0 x1 sin x0 + x1²
    s, c = torch.sin(torch.tensor(a)).item(), torch.cos(torch.tensor(a)).item()
    torch.testing.assert_close(
        J, torch.tensor([[b * s + a * b * c, a * s + 2 * b]], dtype=torch.float64), rtol=1e-6, atol=1e-6
    )
    assert float(found.answer.values["gap"]) < 1e-14
    assert found.verdicts <= GOOD


def test_a_formula_finds_its_links_by_itself(walk):
    """(x² + 1)³ is the notebook's composition."""
    f = formula(expr="(x**2 + 1)**3", at=[2.0])
    alone, given = walk(chain(f)), walk(chain(linked("h = x**2", "g = h + 1", "f = g**3", at=[2.0])))
    for name in ("values", "locals", "products", "derivative"):
        assert torch.equal(alone.answer.values[name], given.answer.values[name])
    assert alone.verdicts <= GOOD
    for name in ("nodes", "edges"):
        torch.testing.assert_close(alone.values[-1][name], given.values[-1][name], rtol=0, atol=0)


def test_a_formula_whose_operations_branch_is_a_graph_with_every_number_proven(walk):
    x, y = 1.1, -0.4
    found = walk(chain(formula(expr="x*y + sin(x)", at=[x, y])))
    values = [float(row["value"]) for row in found.values]
    assert values == pytest.approx([x * y, math.sin(x), x * y + math.sin(x)], rel=1e-14)
    assert [float(row["adjoint"]) for row in found.values] == [1.0, 1.0, 1.0]
    nodes, edges = found.values[-1]["nodes"], found.values[-1]["edges"]
    assert edges[:, 0].tolist() == pytest.approx([y, x, math.cos(x), 1, 1], rel=1e-14)
    assert found.answer.values["derivative"].tolist() == pytest.approx([y + math.cos(x), x], rel=1e-14)
    assert torch.equal(nodes[:2, 2], found.answer.values["derivative"])
    for table in (nodes, edges):
        assert bool((table[:, 1::2] <= 1e-14 * table[:, 0::2].abs()).all())
    assert found.verdicts <= GOOD
    assert Verdict.CERTIFIED in found.verdicts


def test_a_number_that_is_lost_on_the_way_is_not_called_proven(walk):
    """cos(1e-9) - 1 has no digit left in float64."""
    found = walk(chain(formula(expr="(cos(x*y) - 1)*(2 - x)", at=[1e-9, 1.0])))
    nodes = found.values[-1]["nodes"]
    lost = nodes[:, 1] > 1e-10 * nodes[:, 0].abs()
    assert bool(lost.any())
    assert Verdict.SUSPECT in found.verdicts


def test_at_a_kink_the_local_derivative_is_undefined(walk):
    found = walk(chain(formula(expr="abs(x)*y", at=[0.0, 2.0])))
    assert Verdict.UNDEFINED in found.verdicts
    assert found.verdicts <= {*GOOD, Verdict.UNDEFINED}


@pytest.mark.parametrize("expr", ["x", "3", "sum(i, 0, 60, sin(i*x))"])
def test_what_has_no_operations_or_too_many_is_one_link(walk, expr):
    topic = chain(formula(expr=expr, at=[0.3]))
    assert topic.steps == 0
    assert walk(topic).verdicts <= GOOD


def test_the_tree_of_a_formula():
    found = chain(formula(expr="x*y + sin(x)", at=[1.0, 2.0]))
    nodes, edges = accumulated(found.graph)
    (shown,) = tree(structure(found.graph), nodes, edges)
    assert [tuple(row) for row in shown.rows] == [
        ("f = v1 + v2", "2.84147", ""),
        ("├─ v1 = x*y", "2", "1 · 1 = 1"),
        ("│  ├─ x", "1", "1 · 2 = 2"),
        ("│  └─ y", "2", "1 · 1 = 1"),
        ("└─ v2 = sin(x)", "0.841471", "1 · 1 = 1"),
        ("   └─ x", "1", "1 · 0.540302 = 0.540302"),
    ]


def test_a_node_with_two_uses_is_unfolded_once():
    found = chain(formula(expr="sin(x*y)*exp(x*y)", at=[1.0, 2.0]))
    (shown,) = tree(structure(found.graph), *accumulated(found.graph))
    names = [row[0].strip("│├└─ ") for row in shown.rows]
    assert names == ["f = v2*v3", "v2 = sin(v1)", "v1 = x*y", "x", "y", "v3 = exp(v1)", "v1, see above"]


def test_the_graph_of_a_network_knows_its_branches(walk, make_data, make_network):
    found = chain(subject=make_network(Residual, make_data(5, (3,), 2)))
    names = [name for name, _ in found.pictures()[0].joints]
    edges = {(names[a], names[b]) for a, b in found.links}
    assert edges == {
        ("inputs", "stem"), ("stem", "act"), ("act", "inner"), ("inner", "act#2"), ("act", "head"), ("act#2", "head"),
        ("head", "loss"),
    }  # fmt: skip
    nodes = walk(found).values[-1]["nodes"]
    torch.testing.assert_close(nodes[1:-1, 0], found.init()["forward"].double())
    assert float(nodes[-1, 2]) == 1.0


def test_hand_made_chain_rule_of_the_notebooks_network_is_autodiff(walk, make_data, make_network):
    net = make_network(lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), make_data(4, (2,), 1))
    topic = chain(subject=net)
    assert topic.steps == 2
    found = walk(topic)
    by_hand = [row for row in found.evidence if "hand-made" in row.method]
    assert len(by_hand) == 3 + 4  # a signal for each layer, and four parameters
    assert all(row.gap < 1e-14 for row in by_hand)
    assert found.verdicts == {Verdict.CONSISTENT}
    x, y = net.data.inputs, net.data.targets  # the chain rule written out
    W1, b1, W2, b2 = net.parameters().values()
    z = x @ W1.T + b1
    a = z.clamp(min=0)
    δ2 = 2 * (a @ W2.T + b2 - y) / y.numel()
    δ1 = (δ2 @ W2) * (z > 0)
    for name, hand in {"0.weight": δ1.T @ x, "0.bias": δ1.sum(0), "2.weight": δ2.T @ a, "2.bias": δ2.sum(0)}.items():
        torch.testing.assert_close(found.answer.values[f"∂loss/∂{name}"], hand, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.values[2]["backward_norms"][0], δ1.norm())
    torch.testing.assert_close(found.values[0]["backward.0"], δ1)


def deep(activation: type[nn.Module], depth: int, gain: float) -> nn.Module:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(16, 16)
        nn.init.orthogonal_(linear.weight, gain)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(16, 2))


@pytest.mark.parametrize(
    ("activation", "gain", "word"),
    [(nn.Sigmoid, 1.0, "vanishing"), (nn.Identity, 1.0, "steady"), (nn.Identity, 3.0, "exploding")],
)
def test_the_word_for_the_signal(walk, make_data, make_network, activation, gain, word):
    net = make_network(lambda: deep(activation, 8, gain), make_data(6, (16,), 2))
    values = walk(chain(subject=net)).answer.values
    assert values["word"] == word
    if activation is nn.Identity:  # orthogonal times gain: each layer but the last multiplies the signal by the gain
        b = values["backward_norms"]
        torch.testing.assert_close(b[0] / b[14], torch.tensor(gain**7, dtype=torch.float64), rtol=1e-6, atol=0)


class Residual(nn.Module):
    """Not a plain sequence; its activation is used twice and works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.act(self.stem(x))
        return self.head(h + self.act(self.inner(h)))


def test_a_network_that_is_no_sequence_has_signals_but_no_hand_made_product(walk, make_data, make_network):
    net = make_network(Residual, make_data(5, (3,), 2))
    found = walk(chain(subject=net))
    assert "plain sequence" in found.answer.sentence
    assert found.verdicts == {Verdict.CONSISTENT}
    assert found.evidence
    p = net.parameters()  # δ at the stem's output, through both branches
    z = net.data.inputs @ p["stem.weight"].T + p["stem.bias"]
    h = z.clamp(min=0)
    u = h @ p["inner.weight"].T + p["inner.bias"]
    out = (h + u.clamp(min=0)) @ p["head.weight"].T + p["head.bias"]
    δ = 2 * (out - net.data.targets) / out.numel() @ p["head.weight"]
    expected = (δ + (δ * (u > 0)) @ p["inner.weight"]) * (z > 0)
    torch.testing.assert_close(found.answer.values["backward_norms"][0], expected.norm())


def test_a_layer_used_twice_in_a_sequence(walk, make_data, make_network):
    def twice() -> nn.Module:
        shared = nn.Linear(3, 3)
        return nn.Sequential(shared, nn.Tanh(), shared)

    found = walk(chain(subject=make_network(twice, make_data(5, (3,), 3))))
    assert found.verdicts == {Verdict.CONSISTENT}


def test_a_step_reads_no_number_back(meta):
    topic = chain(subject=meta(lambda x: (x**2).sum(), 3))
    _, values = topic.step(topic.init(), 0)
    assert all(value.device.type == "meta" for value in values.values())


def test_a_product_that_underflows_on_the_way_is_suspect_and_not_refuted(walk):
    """The last slopes are 1e-305 by a number below the normal ones, which has lost digits that the whole keeps."""
    f = linked("h = 1e-150*x", "g = 3.3e-167*h + 1e-150*h", "f = 1e15*g", at=[1.7])
    rows = walk(chain(subject=f)).evidence
    assert Verdict.REFUTED not in {row.verdict for row in rows}


def test_what_refutes_autograd_only_makes_a_product_suspect():
    row = Evidence(1, "gradient", "Arb ball", 1.0, 2.0, 1.0, 1.0, 0.0, Verdict.REFUTED)
    assert of_product(row).verdict is Verdict.SUSPECT
    kept = replace(row, verdict=Verdict.CERTIFIED)
    assert of_product(kept) == kept
