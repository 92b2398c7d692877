"""Every topic of these five on every network of the lab: the numbers hold, and so do labels and pictures."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from calclab.core import Verdict
from calclab.network.cnn import Cnn
from calclab.network.linear import Linear
from calclab.network.mlp import Mlp
from calclab.network.resnet import Resnet
from calclab.network.transformer import Transformer
from calclab.schema import catalogue
from calclab.topic.chain import chain
from calclab.topic.hessian import hessian as curvature_of
from calclab.topic.importance import Importance
from calclab.topic.jacobian import jacobian as jacobian_of
from calclab.topic.partial import Partial

NETWORKS = {
    "linear": partial(Linear, bias=True),
    "mlp": partial(Mlp, width=4, depth=2, activation="tanh", bias=True),
    "cnn": partial(Cnn, channels=2, blocks=2, activation="tanh"),
    "resnet": partial(Resnet, channels=2, stages=1, blocks=1, activation="tanh"),
    "transformer": partial(Transformer, width=4, heads=2, blocks=1, activation="gelu"),
}
TOPICS = {
    "partial": partial(Partial, layer=None),
    "chain": chain,
    "hessian": partial(
        curvature_of,
        **{name: catalogue.values("topic", "hessian")[name] for name in catalogue.knobs("topic", "hessian")},
    ),
    "jacobian": partial(
        jacobian_of,
        **{"by": "input", "row": 1, "rows": 1, "batch": None, "layer": None, "points": None},
        **{"way": "auto", "memory": 256, "limit": 1000, "threshold": 100},
    ),
    "importance": partial(
        Importance,
        method=["gradient", "integrated_gradients"],
        target="predicted",
        baseline=None,
        rows=3,
        tol=None,
        samples=None,
        trust=True,
        retrains=2,
        bootstrap=50,
        roar=[],
        layer=None,
        neuron=None,
    ),
}
SEQUENTIAL = ("linear", "mlp", "cnn")


@pytest.fixture(params=NETWORKS)
def net(request, make_data, make_network):
    return make_network(NETWORKS[request.param], make_data(5, (1, 8, 8), 3, classification=True)), request.param


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_consistent_on_every_network(walk, net, topic):
    found = walk(TOPICS[topic](subject=net[0]))
    assert found.evidence
    assert found.verdicts <= {Verdict.CONSISTENT, Verdict.INCONCLUSIVE}, [
        row for row in found.evidence if row.verdict not in (Verdict.CONSISTENT, Verdict.INCONCLUSIVE)
    ]
    assert Verdict.CONSISTENT in found.verdicts


def test_plain_sequences_get_the_hand_made_chain_rule_through_flattening(walk, net):
    network, name = net
    found = walk(chain(subject=network))
    assert any("hand-made" in row.method for row in found.evidence) == (name in SEQUENTIAL)
    assert ("plain sequence" in found.answer.sentence) == (name not in SEQUENTIAL)


def test_the_jacobian_of_the_linear_network_is_its_weight(walk, net):
    network, name = net
    found = walk(TOPICS["jacobian"](subject=network, row=0, batch=2))
    assert any("the weight" in row.method for row in found.evidence) == (name == "linear")


def test_layers_by_name(walk, net):
    network, _ = net
    layers = network.layers()
    for layer in {layers[0][0], layers[len(layers) // 2][0]}:
        J = walk(TOPICS["jacobian"](subject=network, layer=layer)).answer.values["jacobian"]
        assert J.shape[1] == 64
        assert bool(torch.isfinite(J).all())
