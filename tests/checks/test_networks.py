"""A module and a batch: its parameters' gradients, and the layer at fault."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab


class Tampered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2) * (1 + 1e-4)


class Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Tampered.apply(x)


def batch() -> tuple[Tensor, Tensor]:
    maker = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=maker), torch.randn(6, 2, generator=maker)


def test_a_network_in_training_mode_is_right_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.4), nn.Linear(4, 2))
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = calclab.check(net, batch(), criterion=nn.MSELoss(), elsewhere=1)
    assert found.verdict == "consistent", str(found)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in net.parameters())
    assert net.training


def test_the_layer_at_fault_is_named() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 4), Activation()), nn.Linear(4, 2))
    found = calclab.check(net, batch(), criterion=nn.MSELoss())
    assert found.verdict == "refuted"
    assert "one layer: 2.1 (Activation)" in found.cause


def test_a_part_that_is_detached_is_told() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).detach())

    torch.manual_seed(0)
    found = calclab.check(Cut(), batch(), criterion=nn.MSELoss())
    assert found.verdict == "refuted"
    assert "detached" in found.cause
    assert "first." in found.place


def test_a_module_without_a_criterion_is_looked_at_by_its_input_too() -> None:
    torch.manual_seed(0)
    found = calclab.check(nn.Linear(3, 2), batch()[0][:2], elsewhere=1)
    assert found.verdict == "consistent"


def test_a_batch_that_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(calclab.UserError):
        calclab.check(nn.Linear(3, 2), batch()[0], criterion=nn.MSELoss())
    with pytest.raises(calclab.UserError):
        calclab.check(nn.Linear(5, 2), batch(), criterion=nn.MSELoss())
