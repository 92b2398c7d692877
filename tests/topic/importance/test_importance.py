from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from calclab.core import Verdict
from calclab.errors import UserError
from calclab.subject.formula import formula
from calclab.topic.importance import BLOCK, Importance

KNOBS = {
    "method": "gradient",
    "layer": None,
    "neuron": None,
    "target": "loss",
    "baseline": None,
    "rows": None,
    "tol": None,
    "samples": None,
    "trust": False,
    "retrains": 0,
    "bootstrap": 0,
    "roar": [],
}
importance = partial(Importance, **KNOBS)


def test_a_linear_models_importance_is_its_closed_form(walk, make_data, make_network):
    rows = make_data(6, (5,), 1)
    net = make_network(lambda: nn.Linear(5, 1), rows)
    w, b = net.parameters().values()
    found = walk(importance(subject=net))
    a = (2 * (rows.inputs @ w.T + b - rows.targets) * w).abs()  # |∂(wx + b - y)²/∂x|
    torch.testing.assert_close(torch.stack([row["attributions"] for row in found.values]), a)
    values = found.answer.values
    torch.testing.assert_close(values["importance"], a.mean(0))
    torch.testing.assert_close(values["standard_error"], a.std(0) / 6**0.5)
    assert values["most important"] == f"f{int(w.abs().argmax())}"
    assert values["argmax"] == w.abs().argmax()
    assert values["ranks"].argmin() == w.abs().argmax()
    assert sorted(values["ranks"].tolist()) == [1, 2, 3, 4, 5]
    assert found.verdicts == {Verdict.CONSISTENT}
    assert values["most important"] in found.answer.sentence


def classifier() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("target", ["loss", "predicted", "output.0", "output.2"])
def test_each_target_is_differentiated_row_by_row(walk, make_data, make_network, target):
    rows = make_data(9, (4,), 3, classification=True)
    net = make_network(classifier, rows)
    found = walk(importance(subject=net, target=target))
    for k in range(9):
        x = rows.inputs[k : k + 1].clone().requires_grad_()
        outputs = torch.func.functional_call(net.module, net.parameters(), (x,))
        if target == "loss":
            score = nn.functional.cross_entropy(outputs, rows.targets[k : k + 1])
        else:
            score = outputs[0, int(outputs.argmax())] if target == "predicted" else outputs[0, int(target[-1])]
        (g,) = torch.autograd.grad(score, x)
        torch.testing.assert_close(found.values[k]["attributions"], g[0].abs(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.values[k]["score"], score.detach())
    assert found.verdicts == {Verdict.CONSISTENT}


def test_many_samples_come_in_blocks(make_data, make_network):
    count = 2 * BLOCK + 3
    rows = make_data(count, (3,), 1)
    topic = importance(subject=make_network(lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)), rows))
    state, seen = topic.init(), []
    for k in range(topic.steps + 1):
        state, values = topic.step(state, k)
        seen.append(values["attributions"])
    a = torch.stack(seen)
    assert len(a) == count
    torch.testing.assert_close(values["importance"], a.mean(0))
    torch.testing.assert_close(values["standard_error"], a.std(0) / count**0.5)


def test_rows_takes_the_first_ones(walk, make_data, make_network):
    net = make_network(classifier, make_data(9, (4,), 3, classification=True))
    first, every = walk(importance(subject=net, rows=4)), walk(importance(subject=net))
    assert len(first.values) == 4
    torch.testing.assert_close(first.values[3]["attributions"], every.values[3]["attributions"])
    with pytest.raises(UserError, match=r"rows=10.*9 rows"):
        importance(subject=net, rows=10)


def test_images_get_a_map(walk, make_data, make_network):
    rows = make_data(3, (1, 4, 5), 2, classification=True)
    net = make_network(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(12, 2)), rows)
    found = walk(importance(subject=net))
    assert found.values[-1]["importance_map"].shape == (4, 5)
    torch.testing.assert_close(found.values[-1]["importance_map"].flatten(), found.answer.values["importance"])


def test_a_formula_is_one_sample_with_its_variables_as_features(walk):
    f = formula(name="f", expr="x**2 - 3*y", at=[1.0, 5.0], dtype=torch.float64, device="cpu")
    found = walk(importance(subject=f))
    assert found.answer.values["importance"].tolist() == [2, 3]
    assert found.answer.values["most important"] == "y"
    assert Verdict.CERTIFIED in found.verdicts


def test_an_output_of_a_vector_formula(walk):
    f = formula(name="f", expr=["x0 + x1", "x0*x1"], at=[3.0, -2.0], dtype=torch.float64, device="cpu")
    found = walk(importance(subject=f, target="output.1"))
    assert Verdict.CERTIFIED in found.verdicts
    assert found.answer.values["importance"].tolist() == [2, 3]
    with pytest.raises(UserError, match=r"no target is given.*output\.0, output\.1"):
        importance(subject=f)


def test_a_constant_network_ranks_nothing(walk, make_data, make_network):
    def dead() -> nn.Module:
        layer = nn.Linear(3, 1)
        nn.init.zeros_(layer.weight)
        return layer

    assert "nothing matters" in walk(importance(subject=make_network(dead, make_data(3, (3,), 1)))).answer.sentence


def test_wrong_targets_are_answered_with_the_right_ones(make_data, make_network):
    net = make_network(classifier, make_data(9, (4,), 3, classification=True))
    for wrong in ("output.3", "output", "accuracy", "output.-1", "output.01"):
        with pytest.raises(UserError, match=r"loss, predicted, output\.0, output\.1, output\.2"):
            importance(subject=net, target=wrong)
    f = formula(name="f", expr="x**2", at=[1.0], dtype=torch.float64, device="cpu")
    with pytest.raises(UserError, match="rows=3"):
        importance(subject=f, rows=3)


def test_a_step_reads_no_number_back(meta):
    f = meta(lambda x: (x**2).sum(), 3)
    _, values = importance(subject=replace(f)).step(importance(subject=f).init(), 0)
    assert values["importance"].device.type == "meta"
