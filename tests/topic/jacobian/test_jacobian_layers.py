"""Each layer by its own input: their product is the whole, and what is lost adds up."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import jacrev

from calclab.core import Verdict
from calclab.errors import UserError
from calclab.network.cnn import Cnn
from calclab.network.deep import deep
from calclab.network.mlp import Mlp
from calclab.network.resnet import Resnet
from calclab.topic.jacobian import jacobian as jacobian_of

KNOBS = {"row": 0, "rows": 1, "batch": None, "layer": None, "points": None}
layers = partial(jacobian_of, by="layers", **KNOBS, way="auto", memory=256, limit=1000, threshold=100)


@pytest.mark.parametrize(
    "module",
    [
        partial(Mlp, width=5, depth=3, activation="gelu", bias=True),
        partial(Cnn, channels=2, blocks=2, activation="tanh"),
        partial(Resnet, channels=4, stages=1, blocks=1, activation="tanh"),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_the_last_layer_stands_at_the_whole_jacobian(walk, make_data, make_network, module, rows) -> None:
    net = make_network(module, make_data(5, (1, 8, 8), 3, classification=True))
    found = walk(layers(subject=net, row=1, rows=rows))
    σ = torch.stack([torch.linalg.svdvals(jacrev(net.row_response(k).call)(net.rows[k])) for k in range(1, 1 + rows)])
    values, last = found.answer.values, found.values[-1]
    torch.testing.assert_close(last["forward_norm"], σ[:, 0].median())
    torch.testing.assert_close(last["condition"], (σ[:, 0] / σ[:, -1]).median())
    if rows == 1:
        torch.testing.assert_close(10 ** values["lost"].sum(), values["condition"])
    assert found.verdicts <= {Verdict.CONSISTENT, Verdict.INCONCLUSIVE}


def test_norms_of_layers_and_of_what_follows(walk, make_data, make_network) -> None:
    net = make_network(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), make_data(4, (3,), 2))
    found = walk(layers(subject=net))
    W1, b1, W2, _ = net.parameters().values()
    slope = 1 - torch.tanh(W1 @ net.rows[0] + b1) ** 2
    own = [torch.linalg.matrix_norm(W1, 2), slope.max(), torch.linalg.matrix_norm(W2, 2)]
    tails = [(W2 * slope).norm(), W2.norm(), torch.tensor(2.0).sqrt()]
    for k, values in enumerate(found.values):
        assert float(values["own_norm"]) == pytest.approx(float(own[k]))
        assert float(values["gradient_norm"]) == pytest.approx(float(tails[k]))


def test_orthogonal_layers_keep_everything(walk, make_data, make_network) -> None:
    made = partial(deep, width=12, depth=10, activation="identity", bias=False, init="orthogonal", gain=1.0)
    net = make_network(made, make_data(3, (12,), 12))
    found = walk(layers(subject=net))
    assert float(found.answer.values["condition"]) == pytest.approx(1, abs=1e-5)
    assert float(found.answer.values["factor"]) == pytest.approx(1, abs=1e-5)
    assert found.answer.values["word"] == "steady"


def test_saturated_layers_let_the_gradient_vanish(walk, make_data, make_network) -> None:
    made = partial(deep, width=30, depth=12, activation="sigmoid", bias=True, init="gaussian", gain=1.0)
    found = walk(layers(subject=make_network(made, make_data(3, (30,), 4))))
    assert found.answer.values["word"] == "vanishing"
    assert 0.15 < float(found.answer.values["factor"]) < 0.25  # the slope is 1/4 at most


def test_dead_units_make_it_singular(walk, make_data, make_network) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.ReLU()
            nn.init.constant_(self.first.bias, -50.0)

        def forward(self, x):
            return self.second(self.first(x))

    found = walk(layers(subject=make_network(Dead, make_data(3, (3,), 3))))
    assert "singular to working precision" in found.answer.sentence


class Squared(nn.Linear):
    """Of a class derived from a linear layer, and no linear one."""

    def forward(self, x):
        return super().forward(x) ** 2


class Scaled(nn.Module):
    """More is done to the outputs after the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return 3 * self.b(torch.tanh(self.a(x))) + x[:, :2]


class Louder(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self[0].register_forward_hook(lambda module, args, output: 5 * output)


ODD = {
    "a subclass": lambda: nn.Sequential(Squared(3, 4), nn.Tanh(), Squared(4, 2)),
    "something after the last layer": Scaled,
    "in place": lambda: nn.Sequential(nn.Linear(3, 4), nn.Hardswish(inplace=True), nn.Linear(4, 2)),
    "a hook": Louder,
    "a weight that is computed": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_layers_that_are_not_what_they_seem(walk, make_data, make_network, name) -> None:
    net = make_network(ODD[name], make_data(5, (3,), 2))
    found = walk(layers(subject=net, row=1))
    assert Verdict.REFUTED not in found.verdicts
    last = net.module.b if name.startswith("something") else net.module
    σ = torch.linalg.svdvals(torch.func.jacrev(lambda x: outputs_of(net, last, x))(net.rows[1]))
    torch.testing.assert_close(found.answer.values["condition"], σ[0] / σ[-1])
    assert ("from the input to b:" in found.answer.sentence) == name.startswith("something")


def outputs_of(net, last: nn.Module, x: torch.Tensor) -> torch.Tensor:
    seen = []
    handle = last.register_forward_hook(lambda module, args, output: seen.append(output))
    net.module(x[None].clone())
    handle.remove()
    return seen[0][0]


def test_layers_without_a_derivative_by_the_input_are_named(make_data, make_network) -> None:
    class Rounded(nn.Linear):
        def forward(self, x):
            return super().forward(x.round().detach())

    with pytest.raises(UserError, match="none has a derivative by the input"):
        layers(subject=make_network(lambda: Rounded(3, 2), make_data(5, (3,), 2)))


def test_networks_without_a_row_of_its_own_are_refused(make_data, make_network) -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x - x.mean(dim=0))

    mixing = make_network(Mixing, make_data(4, (3,), 2))
    with pytest.raises(UserError, match="mixes rows"):
        layers(subject=mixing, rows=2)
    norm = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(UserError, match=r"takes no row by itself .* Type by=input batch=10"):
        layers(subject=make_network(lambda: norm, make_data(4, (3,), 2)))
