"""The bracket of a network's Lipschitz constant: nothing that is sampled stretches more than its upper end."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from calclab.network.resnet import Resnet
from calclab.network.transformer import Transformer
from calclab.numerics.jacobian import of_module
from calclab.topic.jacobian import jacobian as jacobian_of
from calclab.topic.jacobian.lipschitz import bound

KNOBS = {"by": "input", "row": 0, "batch": None, "layer": None, "points": None}
jacobian = partial(jacobian_of, **KNOBS, rows=None, way="auto", memory=256, limit=1000, threshold=100)


class Residual(nn.Module):
    """x + f(x), f one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inner(x)


class Convolutions(nn.Module):
    """A residual block with batch normalisation, a functional activation, means, and a linear output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.norm = (
            nn.Conv2d(1, 3, 3, padding=1),
            nn.Conv2d(3, 3, 3, padding=1),
            nn.BatchNorm2d(3),
        )
        self.pool, self.output = nn.AvgPool2d(2), nn.Linear(27, 3)

    def forward(self, x):
        y = torch.relu(self.stem(x))
        y = y + 0.5 * self.norm(self.inner(y))
        return self.output(self.pool(y).flatten(1))


def test_a_residual_layer_has_at_most_one_plus_its_norm(make_data, make_network, walk) -> None:
    net = make_network(Residual, make_data(6, (4,), 4))
    values = walk(jacobian(subject=net)).answer.values
    W, _ = net.parameters().values()
    assert float(values["lipschitz_high"]) == pytest.approx(1 + float(torch.linalg.matrix_norm(W, 2)))
    assert float(values["lipschitz_low"]) == pytest.approx(float(torch.linalg.matrix_norm(torch.eye(4) + W, 2)))


def test_it_is_met_where_both_paths_stretch_the_same_way() -> None:
    net = Residual().double()
    with torch.no_grad():
        net.inner.weight.copy_(torch.diag(torch.tensor([3.0, 1, 0.5, 0])))
    f = of_module(net, torch.zeros(4, dtype=torch.float64))
    assert bound(f.steps, net).constant == pytest.approx(4)


@pytest.mark.parametrize("made", [Convolutions, partial(Resnet, channels=4, stages=2, blocks=1, activation="gelu")])
def test_residual_networks_have_an_upper_bound_that_holds(make_data, make_network, walk, made) -> None:
    net = make_network(made, make_data(5, (1, 6, 6), 3, classification=True))
    found = walk(jacobian(subject=net))
    values = found.answer.values
    low, high = float(values["lipschitz_low"]), float(values["lipschitz_high"])
    x, y = torch.randn(2, 500, 36, dtype=torch.float64)
    near = x + 1e-3 * y
    for other in (y, near):
        stretched = (net.batch_outputs(x) - net.batch_outputs(other)).norm(dim=1) / (x - other).norm(dim=1)
        assert float(stretched.max()) <= high
    assert low <= high
    assert "added where paths meet" in found.answer.sentence


def test_attention_has_no_constant_and_the_answer_says_so(make_data, make_network, walk) -> None:
    made = partial(Transformer, width=4, heads=2, blocks=1, activation="gelu")
    found = walk(jacobian(subject=make_network(made, make_data(4, (3, 2), 2))))
    assert "no global Lipschitz constant (Kim, Papamakarios and Mnih 2021)" in found.answer.sentence
    assert "lipschitz_high" not in found.answer.values
    stock = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    assert "Kim" in bound(None, stock).missing[0]


def test_programs_that_cannot_be_followed_and_layers_without_a_norm() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x) * x

    for net, text in ((Product(), "mul"), (nn.Sequential(nn.Linear(3, 3), nn.Threshold(0.1, 2.0)), "Threshold")):
        found = bound(of_module(net, torch.ones(3)).steps, net)
        assert found.constant == float("inf")
        assert text in found.missing[0]
    assert "cannot be followed" in bound(None, nn.Identity()).missing[0]


class Followed(nn.Module):
    """A convolution whose output is ``made`` something else of, before it is added to the input."""

    def __init__(self, made) -> None:
        super().__init__()
        self.inner, self.made = nn.Conv2d(2, 2, 3, padding=1), made

    def forward(self, x):
        h = self.inner(x)
        y = self.made(h)
        return (x + h + y).flatten(1)


def hooked() -> nn.Module:
    net = Followed(torch.relu)
    net.inner.register_forward_hook(lambda module, args, output: 30 * output)
    return net


def of_a_part(h):
    h[:, :1].mul_(40.0)
    return h


FOLLOWED = {
    "a hook": (hooked, False),
    "a hook of the whole": (lambda: whole_hooked(), False),
    "in place": (lambda: Followed(lambda h: h.mul_(40.0)), True),
    "a part in place": (lambda: Followed(of_a_part), False),
}


def whole_hooked() -> nn.Module:
    net = Followed(torch.relu)
    net.register_forward_hook(lambda module, args, output: 30 * output)
    return net


@pytest.mark.parametrize("name", FOLLOWED)
def test_hooks_and_what_is_done_in_place_are_not_overlooked(name: str) -> None:
    torch.manual_seed(0)
    build, known = FOLLOWED[name]
    net = build().double().eval()
    x = torch.randn(2, 4, 4, dtype=torch.float64)
    f = of_module(net, x)
    found = bound(f.steps, net)
    J = torch.func.jacrev(lambda z: net(z[None])[0])(x).detach().reshape(f.outputs, -1)
    assert bool(found.missing) != known
    assert found.constant >= float(torch.linalg.matrix_norm(J, 2)) or found.missing
    assert (f.structure is not None) == known
