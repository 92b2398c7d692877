"""Methods of Captum's: identities that they promise, and the cases in which they would be silently wrong."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.attribution import attribute
from calclab.errors import UserError

pytest.importorskip("captum", reason="Captum is an extra: pip install 'calclab[captum]'")


class Functional(nn.Module):
    def __init__(self, *, again: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.relu, self.again = nn.Linear(4, 8), nn.Linear(8, 8), nn.ReLU(), again
        self.c = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.a(x))
        h = self.relu(self.b(h)) if self.again else functional.relu(self.b(h))
        return self.c(h)


def fresh(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Every activation a module of its own."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_deeplift_is_complete(nets: SimpleNamespace, activation: type[nn.Module]) -> None:
    net, x = fresh(4, 8, 8, 2, activation=activation), nets.rows(6, 4)
    x0 = nets.rows(1, 4, seed=3)
    found = attribute(net, "deeplift", x, target=1, baseline=x0)
    assert float(found.gap.abs().max()) < 1e-10
    reference = nets.rows(5, 4, seed=9)
    mean = attribute(net, "deeplift_shap", x, target=1, reference=reference).values
    each = [attribute(net, "deeplift", x, target=1, baseline=row).values for row in reference]
    torch.testing.assert_close(mean, torch.stack(each).mean(0))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("method", ["deeplift", "deeplift_shap", "lrp"])
def test_what_captum_cannot_see_is_refused(nets: SimpleNamespace, method: str, again: bool) -> None:
    with pytest.raises(UserError, match="Relu is done 2 times, and only 1 modules"):
        attribute(Functional(again=again).double(), method, nets.rows(3, 4))


def test_activations_without_a_rule_are_refused(nets: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="no rule for Silu"):
        attribute(fresh(4, 8, 2, activation=nn.SiLU), "deeplift", nets.rows(3, 4))


def test_lrp_without_biases_keeps_the_output(nets: SimpleNamespace) -> None:
    net, x = fresh(4, 8, 8, 2), nets.rows(6, 4)
    with torch.no_grad():
        for m in net:
            if isinstance(m, nn.Linear):
                m.bias.zero_()
    found = attribute(net, "lrp", x, target=0)
    # of a ReLU network without biases, ε-LRP is gradient times input, up to ε
    torch.testing.assert_close(
        found.values, attribute(net, "gradient_x_input", x, target=0).values, rtol=1e-4, atol=1e-6
    )
    biased = attribute(fresh(4, 8, 8, 2), "lrp", x, target=0)
    assert any("do not add up" in note for note in biased.notes)


def test_layers_and_neurons(nets: SimpleNamespace) -> None:
    net, x = fresh(4, 8, 8, 2, activation=nn.Tanh), nets.rows(6, 4)
    activation = attribute(net, "layer_activation", x, layer="1").values
    torch.testing.assert_close(activation, net[:2](x).detach())
    both = attribute(net, "layer_gradient_x_activation", x, target=1, layer="1").values
    leaf = net[:2](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net[2:](leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(both, g * activation)
    inner = attribute(net, "layer_integrated_gradients", x, target=1, layer="1").values
    assert inner.shape == (6, 8)
    ends = net(x)[:, 1] - net(torch.zeros_like(x))[:, 1]
    torch.testing.assert_close(inner.sum(1), ends.detach(), rtol=1e-5, atol=1e-6)
    one = attribute(net, "neuron_gradient", x, layer="1", neuron=3).values
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(one, torch.autograd.grad(net[:2](leaf)[:, 3].sum(), leaf)[0])
    path = attribute(net, "neuron_integrated_gradients", x, layer="1", neuron=3, steps=100).values
    start = net[:2](torch.zeros(1, 4, dtype=torch.float64))[:, 3]
    torch.testing.assert_close(path.sum(1), (activation[:, 3] - start).detach(), rtol=1e-5, atol=1e-7)
    total = sum(attribute(net, "neuron_conductance", x, target=1, layer="1", neuron=k).values for k in range(8))
    truth = attribute(net, "integrated_gradients", x, target=1).values
    torch.testing.assert_close(total, truth, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="the layers are 0, 1, 2"):
        attribute(net, "conductance", x, layer="hidden")


def test_gradcam_of_a_convolution(nets: SimpleNamespace) -> None:
    net, x = nets.made(nets.Image()), nets.rows(3, 2, 6, 6)
    (found,) = attribute(net, "gradcam", x, target=0, layer="conv").parts()
    assert found.shape == x.shape
    assert float(found.min()) >= 0
    leaf = net.conv(x).detach().requires_grad_()
    y = net.out(net.pool(net.relu(net.norm(leaf))).flatten(1))[:, 0].sum()
    (g,) = torch.autograd.grad(y, leaf)
    truth = (g.mean((2, 3), keepdim=True) * leaf.detach()).sum(1).relu()
    torch.testing.assert_close(found.sum(1), truth)
    with pytest.raises(UserError, match="gradcam needs images"):
        attribute(fresh(4, 8, 2), "gradcam", nets.rows(3, 4), layer="0")


def test_captum_gets_a_copy(nets: SimpleNamespace) -> None:
    net, x = fresh(4, 8, 2), nets.rows(3, 4)
    before = [dict(vars(m)) for m in net.modules()]
    attribute(net, "deeplift", x)
    attribute(net, "lrp", x)
    assert [set(vars(m)) for m in net.modules()] == [set(b) for b in before]
    assert all(not m._forward_hooks and not m._backward_hooks and not m._forward_pre_hooks for m in net.modules())


class Squeezed(nn.Module):
    """A number for each row without an axis of its own, or two axes of them."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.shape = net, shape

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).reshape(len(x), *self.shape)


@pytest.mark.parametrize(("outputs", "shape"), [(1, ()), (4, (2, 2))])
def test_outputs_of_any_shape_are_numbered_in_a_row(
    nets: SimpleNamespace, outputs: int, shape: tuple[int, ...]
) -> None:
    x = nets.rows(5, 3)
    net = nets.chain(nn.ReLU(), 3, 6, outputs)
    own, other = (attribute(n, "deeplift", x, target=outputs - 1).values for n in (net, Squeezed(net, shape)))
    torch.testing.assert_close(own, other)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu, self.out = nn.Linear(3, 4), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(self.relu(self.a(x) + self.b(y)))


def test_captum_is_for_one_input(nets: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="for one floating-point input"):
        attribute(nets.made(Pair()), "deeplift", (nets.rows(5, 3), nets.rows(5, 2)))
