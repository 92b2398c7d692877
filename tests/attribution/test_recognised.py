"""A chain that was met before is taken at its word only while nothing about the module has changed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from calclab.attribution import attribute
from calclab.attribution.recording import recognised
from calclab.errors import UserError

METHODS = ("gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "ablation", "shapley")


def fresh() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def by_autograd(net: nn.Module, x: Tensor, place: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(net(leaf)[:, place].sum(), leaf)[0].abs()


@pytest.mark.parametrize("method", METHODS)
def test_the_second_look_says_what_the_first_said(nets: SimpleNamespace, method: str) -> None:
    net, x = fresh(), nets.rows(6, 4)
    first = attribute(net, method, x, target=1, reference=x)
    assert recognised(net) is not None
    second = attribute(net, method, x, target=1, reference=x)
    torch.testing.assert_close(second.values, first.values, rtol=0, atol=0)
    torch.testing.assert_close(second.score, net(x)[:, 1].detach())
    assert (first.forwards, first.gradients, first.notes) == (second.forwards, second.gradients, second.notes)


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a layer": lambda net: net.__setitem__(1, nn.Tanh()),
    "a parameter": lambda net: setattr(net[2], "weight", nn.Parameter(2 * net[2].weight.detach())),
    "its numbers, elsewhere": lambda net: setattr(net[2].weight, "data", 2 * net[2].weight.data),
    "its numbers, in place": lambda net: net[2].weight.data.mul_(2),
    "no bias": lambda net: setattr(net[0], "bias", None),
    "a hook": lambda net: net[1].register_forward_hook(lambda module, args, result: 2 * result),
    "a hook before": lambda net: net[1].register_forward_pre_hook(lambda module, args: (2 * args[0],)),
    "a hook of the whole": lambda net: net.register_forward_hook(lambda module, args, result: 2 * result),
    "its forward": lambda net: setattr(net[1], "forward", torch.sin),
    "one layer more": lambda net: net.append(nn.Linear(3, 3).double()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_seen(nets: SimpleNamespace, change: str) -> None:
    net, x = fresh(), nets.rows(6, 4)
    before = attribute(net, "gradient", x, target=1).values
    CHANGES[change](net)
    after = attribute(net, "gradient", x, target=1).values
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, by_autograd(net, x, 1))


def test_a_module_taken_at_its_word_is_left_as_it_was(nets: SimpleNamespace) -> None:
    net, x = fresh(), nets.rows(300, 4)  # more rows than the first pass holds
    attribute(net, "gradient", x, target=1)
    net.train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    state = torch.get_rng_state()
    found = attribute(net, "ablation", x, target=1)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(found.score, net(x)[:, 1].detach())


@pytest.mark.parametrize("several", [False, True])
def test_what_nothing_changed_has_lost_nothing(nets: SimpleNamespace, several: bool) -> None:
    """A feature that is at its baseline has 0 to the last bit, however many points went through together."""
    net, x = fresh().float(), nets.rows(50, 4).float()
    x[:, 2] = 0.25
    base = torch.zeros(4)
    base[2] = 0.25
    options = {"groups": [0, 0, 1, 2]} if several else {}
    found = attribute(net, "ablation", x, target=1, baseline=base, **options)
    assert found.values[:, 2].tolist() == [0.0] * 50
    assert bool((found.values[:, 0] != 0).any())


def test_other_rows_than_the_chain_takes_are_answered(nets: SimpleNamespace) -> None:
    net = fresh()
    attribute(net, "gradient", nets.rows(6, 4), target=1)
    with pytest.raises(UserError, match="does not take these rows"):
        attribute(net, "gradient", nets.rows(6, 5), target=1)
    with pytest.raises(UserError, match="float32"):
        attribute(net, "gradient", nets.rows(6, 4).float(), target=1)
