"""Importance of what lies inside a network: units of a layer, inputs by a neuron, GradCAM; wrong uses are answered."""

from __future__ import annotations

import csv
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.core import Data, Verdict
from calclab.errors import UserError
from calclab.network.cnn import Cnn
from calclab.network.mlp import Mlp
from calclab.subject.formula import formula
from calclab.subject.network import Network, network
from calclab.topic.importance import Importance
from calclab.topic.importance.features import Units

torch.set_num_threads(1)
SMALL = partial(Mlp, width=6, depth=2, activation="tanh", bias=True)
KNOBS = {"target": "predicted", "baseline": None, "rows": None, "tol": None, "samples": None, "trust": True}
MORE = {"retrains": 3, "bootstrap": 100, "roar": [], "layer": None, "neuron": None}


def importance(subject: Any, **given: Any) -> Importance:
    return Importance(**{"subject": subject, **KNOBS, **MORE, **given})


def data(shape: tuple[int, ...], rows: int = 30) -> Data:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, *shape, generator=draw, dtype=torch.float64)
    y = (x.flatten(1)[:, :3].sum(1) > 0).long()
    return Data("made", x, y, tuple(f"f{i}" for i in range(x[0].numel())), ("no", "yes"), True)


@pytest.fixture(scope="module")
def net() -> Network:
    return network(SMALL, data((4,)), name="net", seed=0, train=40)


@pytest.fixture(scope="module")
def images() -> Network:
    module = partial(Cnn, channels=3, blocks=1, activation="relu")
    return network(module, data((1, 6, 6)), name="cnn", seed=0, train=20)


def table(topic: Importance, state: dict[str, Any], folder: Path) -> list[dict[str, str]]:
    topic.write_artifacts(state, folder)
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_conductance_ranks_the_units_of_a_layer(walk, net, tmp_path) -> None:
    topic = importance(net, method="conductance", layer="hidden.2")
    found = walk(topic)
    said, values = found.answer.sentence, found.answer.values
    assert topic.problem.features.names == tuple(f"hidden.2[{i}]" for i in range(6))
    assert "on 30 rows, 3 times trained without them" in said
    assert said.startswith(f"{values['most important']} matters most")
    assert "mean |conductance of predicted class|" in said
    assert "over 30 rows" in said
    assert "trainings" not in said  # a unit is another one after another training
    assert "stability" not in values
    kinds = {kind for kind, _ in topic.plan}
    assert kinds == {"training", "randomised"}  # no columns are deleted by the order of units
    assert found.verdicts == {Verdict.CONSISTENT}
    written = table(topic, found.state, tmp_path)
    assert len(written) == 30 * 6
    assert written[7]["feature"] == "hidden.2[1]"
    assert written[7]["row"] == "1"
    assert written[7]["target"] in ("no", "yes")
    changes = [sum(float(line["value"]) for line in written[6 * k : 6 * k + 6]) for k in range(30)]
    y = net.batch_outputs(net.rows).detach()
    start = net.batch_outputs(net.rows.mean(0, keepdim=True)).detach()
    true = (y - start).gather(1, y.argmax(1)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(changes, dtype=torch.float64), true, rtol=0.02, atol=1e-3)


def test_a_channel_of_maps_is_one_unit(walk, images) -> None:
    found = walk(importance(images, method="conductance", layer="features.0", trust=False))
    assert found.values[0]["attributions"].shape == (3,)
    units = Units("conv", (2, 2, 3), torch.device("cpu"))
    values = torch.arange(12.0)
    assert units.names == ("conv[0]", "conv[1]")
    assert units.by_feature(values, "conductance").tolist() == [15.0, 51.0]
    assert units.by_feature(values, "layer_activation").tolist() == [2.5, 8.5]
    assert units.groups is not None
    assert torch.zeros(2).index_add_(0, units.groups, values).tolist() == [15.0, 51.0]


def test_methods_of_captums_look_at_units_and_neurons(walk, net, tmp_path) -> None:
    pytest.importorskip("captum", reason="Captum is an extra: pip install 'calclab[captum]'")
    units = ["layer_activation", "layer_gradient_x_activation", "layer_integrated_gradients", "conductance"]
    found = walk(importance(net, method=units, layer="hidden.1", retrains=0))
    assert "is the most active" in found.answer.sentence
    a = net.activations(net.data.inputs)["hidden.1"].detach()
    torch.testing.assert_close(found.answer.values["importance"], a.abs().mean(0))
    assert found.verdicts == {Verdict.CONSISTENT}
    topic = importance(net, method=["neuron_gradient", "gradient"], layer="hidden.1", neuron=2, retrains=0)
    found = walk(topic)
    x = net.data.inputs.clone().requires_grad_()
    (g,) = torch.autograd.grad(net.activations(x)["hidden.1"][:, 2].sum(), x)
    torch.testing.assert_close(found.answer.values["importance"], g.abs().mean(0))
    assert "mean |∂hidden.1[2]/∂x|" in found.answer.sentence
    assert topic.problem.ordering == ("gradient",)
    written = table(topic, found.state, tmp_path)
    assert {line["target"] for line in written if line["method"] == "neuron_gradient"} == {"hidden.1[2]"}
    assert {line["target"] for line in written if line["method"] == "gradient"} <= {"no", "yes"}
    assert found.verdicts == {Verdict.CONSISTENT}


def test_gradcam_gets_a_map(walk, images) -> None:
    pytest.importorskip("captum", reason="Captum is an extra: pip install 'calclab[captum]'")
    found = walk(importance(images, method="gradcam", layer="features.0", retrains=2, rows=12))
    assert found.values[-1]["importance_map"].shape == (6, 6)
    assert "matters most" in found.answer.sentence
    with pytest.raises(UserError, match=r"gradcam needs images.*There are features\.0"):
        importance(images, method="gradcam", layer="output")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "conductance"}, r"conductance needs a layer\. net has the layers hidden\.0.*Type.*layer=hidden\.0"),
        ({"method": "conductance", "layer": "hiden.0"}, r"layer=hiden\.0: .*hidden\.0.*Did you mean hidden\.0"),
        ({"method": "gradient", "layer": "hidden.0"}, r"gradient looks at no layer\. Leave layer out"),
        ({"method": "gradient", "neuron": 1}, r"gradient looks at no neuron\. Leave neuron out"),
        ({"method": "neuron_gradient", "layer": "hidden.0"}, r"needs a neuron of layer=hidden\.0.*\(6,\).*neuron=0"),
        ({"method": "conductance", "layer": "hidden.0", "neuron": 1}, r"neuron=1: conductance looks at a whole layer"),
        ({"method": ["conductance", "gradient"], "layer": "hidden.0"}, r"ranks the units of a layer, gradient the"),
        ({"method": "conductance", "layer": "hidden.0", "roar": [0.5]}, r"roar removes columns"),
    ],
)
def test_wrong_uses_are_answered(net, given, said) -> None:
    with pytest.raises(UserError, match=said):
        importance(net, **given)


def test_a_neuron_that_is_not_there(net) -> None:
    pytest.importorskip("captum", reason="Captum is an extra: pip install 'calclab[captum]'")
    with pytest.raises(UserError, match=r"neuron=6: layer=hidden\.0 has the neurons 0 to 5\. Type neuron=0"):
        importance(net, method="neuron_gradient", layer="hidden.0", neuron=6)


def test_without_captum_its_methods_say_what_to_install(net, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"pip install 'calclab\[captum\]'"):
        importance(net, method="layer_activation", layer="hidden.0")
    assert importance(net, method="conductance", layer="hidden.0").problem.features.names  # is the lab's own


def test_a_function_has_no_layers() -> None:
    f = formula(name="f", expr="x**2 - 3*y", at=[1.0, 5.0], dtype=torch.float64, device="cpu")
    with pytest.raises(UserError, match="conductance needs data"):
        importance(f, method="conductance", layer="a", target="loss")
    with pytest.raises(UserError, match="looks at no layer"):
        importance(f, method="gradient", layer="a", target="loss")
