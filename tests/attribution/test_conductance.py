"""Conductance: complete, equal to closed forms, of second order, and refined until its error column tells the truth."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from calclab.attribution import attribute
from calclab.errors import UserError


class Around(nn.Module):
    """Half of the input goes round the layer, in whose wake an activation works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.relu, self.b = nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.relu(self.a(x)))
        return y + x[:, :2]


def net_of(activation: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), activation(), nn.Linear(8, 8), activation(), nn.Linear(8, 2)]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_it_adds_up_and_its_error_holds(nets: SimpleNamespace, activation: type[nn.Module], layer: str) -> None:
    net, x = net_of(activation), nets.rows(6, 4)
    found = attribute(net, "conductance", x, target=1, layer=layer, baseline=nets.rows(1, 4, seed=3))
    assert found.values.shape == (6, 8)
    assert bool((found.gap.abs() <= found.error.amin(1) + 1e-12).all())
    assert bool((found.error.amax(1) <= 0.05 * found.values.abs().amax(1)).all())
    finer = attribute(net, "conductance", x, target=1, layer=layer, baseline=nets.rows(1, 4, seed=3), steps=4096)
    assert bool(((found.values - finer.values).abs() <= 2 * found.error + finer.gap.abs()[:, None]).all())


def test_of_a_smooth_network_the_error_falls_with_the_square(nets: SimpleNamespace) -> None:
    net, x = net_of(nn.Tanh), nets.rows(6, 4)
    true = attribute(net, "conductance", x, target=1, layer="1", steps=2048).values
    off = [
        float((attribute(net, "conductance", x, target=1, layer="1", steps=n).values - true).abs().max())
        for n in (16, 32, 64)
    ]
    assert off[0] / off[1] == pytest.approx(4, rel=0.1)
    assert off[1] / off[2] == pytest.approx(4, rel=0.1)


def test_of_the_last_hidden_layer_it_is_the_weight_times_the_change(nets: SimpleNamespace) -> None:
    net, x = net_of(nn.Tanh), nets.rows(5, 4)
    found = attribute(net, "conductance", x, target=1, layer="3", steps=1)
    change = net[:4](x) - net[:4](torch.zeros_like(x))
    torch.testing.assert_close(found.values, (net[4].weight[1] * change).detach())


def test_over_several_baselines_it_is_their_mean(nets: SimpleNamespace) -> None:
    net, x, reference = net_of(nn.Tanh), nets.rows(3, 4), nets.rows(4, 4, seed=5)
    found = attribute(net, "conductance", x, layer="1", target=0, baseline="training", reference=reference, steps=9)
    each = [attribute(net, "conductance", x, layer="1", target=0, baseline=row, steps=9).values for row in reference]
    torch.testing.assert_close(found.values, torch.stack(each).mean(0))


def test_lots_give_what_one_gives(nets: SimpleNamespace) -> None:
    net, x = net_of(nn.ReLU), nets.rows(40, 4)
    whole = attribute(net, "conductance", x, layer="1", target=0, steps=7).values
    parts = attribute(net, "conductance", x, layer="1", target=0, steps=7, memory=0.01).values
    torch.testing.assert_close(whole, parts)


def test_what_goes_round_the_layer_is_told(nets: SimpleNamespace) -> None:
    torch.manual_seed(1)
    net, x = Around().double(), nets.rows(6, 4)
    found = attribute(net, "conductance", x, target=1, layer="a", steps=256)
    assert any("not all that reaches the output" in note for note in found.notes)
    torch.testing.assert_close(found.gap, -x[:, 1], rtol=1e-2, atol=1e-2)


def test_unknown_layers_and_neurons_are_answered(nets: SimpleNamespace) -> None:
    net, x = net_of(nn.ReLU), nets.rows(3, 4)
    with pytest.raises(UserError, match="the layers are 0, 1, 2"):
        attribute(net, "conductance", x, layer="hidden")
    with pytest.raises(UserError, match="conductance needs layer="):
        attribute(net, "conductance", x)
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared).double()
    with pytest.raises(UserError, match="in several places"):
        attribute(twice, "conductance", x, layer="1")
