"""What a first look at a module finds: whether it marks its rows, and whether it takes several at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.errors import UserError


class Bend(nn.Module):
    """u'' by derivatives by its input, which it marks for that."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x.requires_grad_()
            (slope,) = torch.autograd.grad(self.u(x).sum(), x, create_graph=True)
            return torch.autograd.grad(slope.sum(), x, create_graph=True)[0]


def test_a_module_that_marks_its_input_leaves_the_rows_unmarked() -> None:
    X = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    network = calclab.loss(Bend().double(), lambda y, t: y.square().mean(), (X, X))
    objective = network.objective()
    before = objective.call(objective.start)
    calclab.descent(network, lr=0.1, steps=2)
    assert not network.data.inputs.requires_grad
    assert torch.equal(objective.call(objective.start), before)


class Graph(nn.Module):
    """Nodes that are averaged over a ring; the one row is the whole graph."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.layer(x[0]))
        return (h + h.roll(1, 0))[None]


def test_a_module_that_takes_one_row_alone_has_its_own_jacobian_and_is_asked_for_no_more() -> None:
    module, X = Graph().double(), torch.randn(1, 4, 2, dtype=torch.float64)
    subject = calclab.outputs(module, (X, torch.zeros(1, 12, dtype=torch.float64)))
    J = torch.autograd.functional.jacobian(lambda x: module(x).reshape(-1), X).reshape(12, 8)
    assert torch.allclose(calclab.jacobian(subject).jacobian, J, rtol=0, atol=1e-15)
    with pytest.raises(UserError, match="one row at a time"):
        calclab.importance(subject, method=["integrated_gradients"], baseline="zeros", target="output.0", trust=False)
