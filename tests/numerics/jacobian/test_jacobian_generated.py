"""Windows, colours and memory over generated layers and networks: what no single example would have met."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from calclab.numerics.jacobian import compressed, jacobians, of_function, of_module, plan
from calclab.numerics.jacobian.maps import apart
from calclab.subject.formula import formula

torch.set_num_threads(1)


def convolutions() -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Few and many channels on either side (rows and columns are coloured), strides, paddings, dilations."""
    torch.manual_seed(0)
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    for before, after, stride, padding, dilation in itertools.product((1, 4), (1, 5), (1, 2, 3), (0, 2), (1, 2)):
        layer = nn.Conv1d(before, after, 4, stride=stride, padding=padding, dilation=dilation)
        found.append((layer.double(), (before, 23)))
    image = nn.Conv2d(3, 1, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2))
    wide = nn.Conv2d(1, 4, (2, 3), stride=(1, 3), padding=(1, 2))
    return [*found, (image.double(), (3, 9, 8)), (wide.double(), (1, 7, 10))]


def test_every_window_gives_the_dense_jacobian() -> None:
    seen = set()
    for layer, shape in convolutions():
        f = of_module(nn.Sequential(layer, nn.Tanh()), torch.randn(shape, dtype=torch.float64))
        assert f.structure is not None
        seen.add(f.structure.by_columns)
        truth = jacrev(f.call)(f.start).detach()
        found = compressed(f, f.start)
        there = int((truth != 0).sum())  # a window with holes is counted whole
        assert found.entries == there if set(layer.dilation) == {1} else found.entries >= there
        J = torch.empty_like(truth)
        found.dense(J)
        torch.testing.assert_close(J, truth, rtol=1e-12, atol=1e-14)
    assert seen == {True, False}


class Spreading(nn.Module):
    """More channels go out than come in, so that columns are coloured; constants, scales and shifts before bends."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.Conv1d(4, 6, 3)
        self.short = nn.Conv1d(1, 4, 1)
        self.pool, self.mean = nn.MaxPool1d(2), nn.AvgPool1d(2)
        self.register_buffer("offset", torch.linspace(-1, 1, 4)[:, None])
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.norm(self.first(x)) + 0.7)
        y = torch.sigmoid(2 * y - self.short(x) + self.offset)
        return self.second(self.pool(y)) - self.second(self.mean(1 - y))


def test_columns_through_a_network_of_branches() -> None:
    torch.manual_seed(3)
    net = Spreading().double().eval()
    f = of_module(net, torch.randn(1, 40, dtype=torch.float64))
    assert f.structure is not None
    assert f.structure.by_columns
    assert f.steps is not None
    truth = jacrev(f.call)(f.start).detach()
    torch.testing.assert_close(jacobians(f, f.start[None], plan(f, way="coloured"))[0], truth, rtol=1e-12, atol=1e-13)


class Turned(nn.Module):
    """An image whose axes are read in another shape before the last step: a window on it means nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x).reshape(-1, 1, 12, 5))


def test_another_shape_in_the_middle_has_no_window() -> None:
    torch.manual_seed(0)
    f = of_module(Turned().double(), torch.randn(1, 5, 12, dtype=torch.float64))
    assert f.structure is None
    torch.testing.assert_close(jacobians(f, f.start[None], plan(f))[0], jacrev(f.call)(f.start).detach())


@pytest.mark.parametrize("memory", [3e3, 1e5, 2e6])
@pytest.mark.parametrize("way", ["forward", "reverse", "chain", "coloured", "straight"])
def test_a_plan_keeps_to_its_memory_or_takes_one_at_a_time(way: str, memory: float) -> None:
    """What goes together stays below the share of the memory, and twice as much of it would not."""
    torch.manual_seed(0)
    if way == "straight":
        f = of_function(formula(name="f", expr=["sin(x)*y", "x*y**2"], at=[1, 2]))
    elif way == "coloured":
        f = of_function(formula(name="f", expr=[f"sin(x{i})*x{(i + 1) % 30}" for i in range(30)], at=[0.1] * 30))
    else:
        f = of_module(nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double(), torch.randn(6).double())
    made = plan(f, 1000, way=way, memory=memory, kept=True)
    one = f.inputs * f.outputs * f.itemsize
    if way in ("forward", "reverse"):
        each = f.saved
        assert made.lanes == 1 or made.lanes * each <= memory / 4
        assert (made.lanes + 1) * each > memory / 4
        assert made.points == min(1000, made.lanes)
    elif way == "coloured":
        colours = f.structure.colours
        assert made.lanes == made.points * colours
        assert made.points == 1 or made.points * colours * f.saved <= memory / 4
        assert made.points == 1000 or (made.points + 1) * colours * f.saved > memory / 4
    else:
        widest = max(one, 16 * f.inputs * f.outputs if way == "straight" else 8 * max(6 * 9, 9 * 4, 6 * 4))
        assert made.points == 1 or made.points * one <= memory / 4
        assert made.points * 20 * widest >= min(memory / 4, 1000 * widest)
    assert made.bytes >= made.points * one
    x = f.start + 0.1 * torch.randn(7, f.inputs, dtype=torch.float64)
    truth = torch.stack([jacrev(f.call)(point) for point in x])
    torch.testing.assert_close(jacobians(f, x, plan(f, 7, way=way, memory=memory, kept=True)), truth.detach())


def test_whether_points_touch_each_other() -> None:
    x = torch.randn(3, 4, dtype=torch.float64)
    assert apart(lambda z: z**2, x)
    assert apart(lambda z: torch.ones(len(z), 2), x)
    assert not apart(lambda z: z - z.mean(0), x)
    assert not apart(lambda z: z * z.flip(0), x)
