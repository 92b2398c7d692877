"""A module as a function of its tensors: the values of torch's functional_call, and a module left as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from calclab.network.stateless import Stateless


class Tied(nn.Module):
    """A tied weight, one module under two names, a tied buffer, a frozen parameter, a buffer that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.shared = nn.Linear(3, 3)
        self.again = self.shared
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("shift", torch.ones(3))
        self.second.register_buffer("shift", self.shift)
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).tanh()) + self.shift + self.second.shift
        return self.again(self.shared(x).tanh()) * self.frozen


class Writes(nn.Module):
    """Moves one buffer in place and puts another in the place of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("calls", torch.zeros(3))
        self.register_buffer("last", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.linear(x) + self.calls + self.last
        self.last = y.detach()[0]
        return y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.unsqueeze(1))[0][:, 0]


MODULES: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(3, 2),
    Tied,
    Writes,
    Recurrent,
    lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)),
    lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)),
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
    lambda: nn.TransformerEncoderLayer(3, 1, 5, batch_first=True),
]


@pytest.mark.parametrize("make", MODULES)
def test_values_and_gradients_of_functional_call(make: Callable[[], nn.Module]) -> None:
    module = make().double().eval()
    reference, before = copy.deepcopy(module), copy.deepcopy(module.state_dict())
    ids = {name: id(t) for name, t in module.state_dict(keep_vars=True).items()}
    x = torch.randn(5, 3, dtype=torch.float64)
    point = {name: 1.1 * p.detach() + 0.01 for name, p in module.named_parameters() if p.requires_grad}
    buffers = {name: b.clone() for name, b in reference.named_buffers()}
    call = Stateless(module)
    expected = functional_call(reference, {**point, **buffers}, (x,))
    for _ in range(2):
        torch.testing.assert_close(call(point, x), expected, rtol=1e-13, atol=1e-13)

    def ours(p: dict[str, Tensor]) -> Tensor:
        return call(p, x).square().sum()

    def torchs(p: dict[str, Tensor]) -> Tensor:
        copies = {name: b.clone() for name, b in before.items() if name in buffers}
        return functional_call(reference, {**p, **copies}, (x,)).square().sum()

    found, wanted = grad(ours)(point), grad(torchs)(point)
    for name in point:
        torch.testing.assert_close(found[name], wanted[name])
    now = module.state_dict(keep_vars=True)
    assert {name: id(t) for name, t in now.items()} == ids
    assert all(torch.equal(now[name], tensor) for name, tensor in before.items())


def test_tied_tensors_go_by_each_of_their_names() -> None:
    module = Tied().double().eval()
    call, x = Stateless(module), torch.randn(2, 3, dtype=torch.float64)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    one, other = call({"first.weight": zero}, x), call({"second.weight": zero}, x)
    assert torch.equal(one, other)
    assert torch.equal(one[0], one[1])  # with both weights zero, no input gets through
    assert torch.equal(call({"again.weight": zero}, x)[0], call({"shared.weight": zero}, x)[1])


def test_the_module_is_restored_after_an_error() -> None:
    module = nn.Linear(3, 2)
    weight = module.weight
    with pytest.raises(RuntimeError):
        Stateless(module)({"weight": torch.zeros(2, 3)}, torch.zeros(5, 4))
    assert module.weight is weight


def test_a_copy_of_module_and_call_is_a_pair_again() -> None:
    module = nn.Linear(3, 2)
    call = copy.deepcopy(Stateless(module))
    x, zero = torch.ones(1, 3), {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    assert not call(zero, x).any()
    assert call.module is not module
    assert call.module(x).any()


def doubled(module: nn.Module, args: object, output: Tensor) -> Tensor:
    return 2 * output


class Loud(nn.Sequential):
    """A sequence that says more than its layers."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x) + 1


@pytest.mark.parametrize("kind", ["none", "layer", "whole", "every", "own class", "own forward", "within"])
def test_a_sequence_gone_through_layer_by_layer_is_its_call(kind: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.BatchNorm1d(4)), nn.Linear(4, 2)]
    net = (Loud if kind == "own class" else nn.Sequential)(*layers).eval()
    if kind == "own forward":
        net[1][0].forward = torch.exp
    if kind == "within":
        net[1] = nn.Sequential(Loud(nn.ReLU()), nn.Dropout())
        net.eval()
    call, x = Stateless(net), torch.randn(5, 3)
    handles = {
        "layer": lambda: net[0].register_forward_hook(doubled),
        "whole": lambda: net.register_forward_hook(doubled),
        "every": lambda: nn.modules.module.register_module_forward_hook(doubled),
    }
    handle = handles[kind]() if kind in handles else None  # hung up after the first look
    try:
        given = {name: p.detach() + 1 for name, p in net.named_parameters()}
        assert torch.equal(call(given, x), functional_call(net, given, (x,)))
        assert not torch.equal(call(given, x), net(x))
    finally:
        if handle is not None:
            handle.remove()
