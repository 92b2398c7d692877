"""Graphs that are quick to go through twice give the derivatives of torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from calclab.core import Data
from calclab.numerics.operators import dense_hessian
from calclab.second_order import curvature
from calclab.subject.network import Network, network


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def held(module: Callable[[], nn.Module], inputs: Tensor) -> None:
    """Products with one column and with several are those of the dense Hessian that torch's own kernels give."""
    targets = torch.randint(3, (len(inputs),), generator=torch.Generator().manual_seed(5))
    names = tuple(f"x{i}" for i in range(inputs[0].numel()))
    net: Network = network(module, Data("rows", inputs, targets, names, ("a", "b", "c"), True), name="net", seed=1)
    expected = dense_hessian(net.objective().call, net.flatten(net.parameters()))
    V = draw(len(expected), 3, seed=2)
    for lanes in (1, 3):
        torch.testing.assert_close(curvature(net, lanes=lanes) @ V, expected @ V, atol=1e-10, rtol=1e-8)


class Bent(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.first(x))
        return self.output(y + self.activation(self.second(y)))


BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu by tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "silu": functional.silu,
    "silu in place": lambda z: functional.silu(z.clone(), inplace=True),
    "mish": functional.mish,
    "elu": lambda z: functional.elu(z, 0.5),
    "softplus": lambda z: functional.softplus(z, beta=2.0),
    "hardswish": functional.hardswish,
}


@pytest.mark.parametrize("name", BENDS)
def test_activations_keep_their_derivatives(name: str) -> None:
    held(lambda: Bent(BENDS[name]), draw(11, 5))


class Convolving(nn.Module):
    """One convolution, what follows it, and a linear layer."""

    def __init__(self, convolution: nn.Module, *behind: Any) -> None:
        super().__init__()
        self.convolution, self.behind, self.output = convolution, nn.Sequential(*behind), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.behind(self.convolution(x))
        return self.output(torch.tanh(y + self.convolution(x)).flatten(1))


def settled(norm: nn.Module) -> nn.Module:
    """With statistics that are neither zeros nor ones."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "over time": (lambda: Convolving(nn.Conv1d(2, 4, 3, stride=2, padding=1)), (2, 7)),
    "dilated": (lambda: Convolving(nn.Conv2d(2, 4, 3, dilation=2, padding=2)), (2, 6, 6)),
    "in groups": (lambda: Convolving(nn.Conv2d(4, 4, 3, groups=2, bias=False)), (4, 5, 5)),
    "of volumes": (lambda: Convolving(nn.Conv3d(1, 2, 2)), (1, 3, 3, 3)),
    "padded in words": (lambda: Convolving(nn.Conv2d(2, 3, 3, padding="same")), (2, 4, 4)),
    "padded by itself": (lambda: Convolving(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")), (2, 4, 4)),
    "normalised": (lambda: Convolving(nn.Conv2d(2, 4, 3), settled(nn.BatchNorm2d(4)), nn.ReLU()), (2, 5, 5)),
    "without a slope": (lambda: Convolving(nn.Conv2d(2, 4, 3), settled(nn.BatchNorm2d(4, affine=False))), (2, 5, 5)),
    "without a bias": (
        lambda: Convolving(nn.Conv2d(2, 4, 3, bias=False), settled(nn.BatchNorm2d(4)), settled(nn.BatchNorm2d(4))),
        (2, 5, 5),
    ),
    "written over": (
        lambda: Convolving(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), settled(nn.BatchNorm2d(4))),
        (2, 5, 5),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_what_follows_them(name: str) -> None:
    module, shape = CONVOLUTIONS[name]

    def made() -> nn.Module:
        built = module().double()
        built(draw(2, *shape))  # tells the last layer its size
        return built.eval()

    held(made, draw(7, *shape))


class Derived(nn.Module):
    """A network with a derivative in it, as one that is to solve a differential equation: a third is asked for."""

    def __init__(self, way: str, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.output, self.way, self.activation = nn.Linear(5, 4), nn.Linear(4, 3), way, activation

    def inner(self, x: Tensor) -> Tensor:
        return self.output(self.activation(self.first(x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "grad":
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                y = self.inner(leaf)
                (slope,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
            return y + slope[:, :3]
        if self.way == "jvp":
            y, slope = torch.func.jvp(self.inner, (x,), (torch.ones_like(x),))
            return y + slope
        if self.way == "vmap":
            return torch.func.vmap(self.inner)(x)
        slope = torch.func.vmap(torch.func.grad(lambda row: self.inner(row).square().sum()))(x)
        return self.inner(x) + slope[:, :3]


@pytest.mark.parametrize("way", ["grad", "jvp", "vmap", "vmap of grad"])
@pytest.mark.parametrize("name", ["silu", "gelu", "softplus", "mish", "elu"])
def test_a_network_with_derivatives_in_it(way: str, name: str) -> None:
    held(lambda: Derived(way, BENDS[name]), draw(11, 5))


class Viewing(nn.Module):
    """What many a tutorial writes: ``view`` knows one order of the axes in memory alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(x)))
        return self.output(y.view(y.size(0), -1))


def test_a_view_of_what_a_convolution_gave() -> None:
    held(Viewing, draw(7, 1, 6, 6))


class Overwriting(nn.Module):
    """A fixed convolution whose input is written over before its output is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.output = nn.Conv2d(1, 2, 3), settled(nn.BatchNorm2d(2)), nn.Linear(32, 3)
        self.first.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = self.first(x)
        x.mul_(2)
        return self.output(torch.tanh(self.norm(y)).flatten(1))


def test_a_convolution_is_not_done_again_on_what_was_written_over() -> None:
    held(Overwriting, draw(7, 1, 6, 6))


class RowByRow(nn.Module):
    """Convolutions of single rows, which have no axis for them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.output = nn.Conv1d(4, 3, 3, padding=1), nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.stack([torch.tanh(self.first(row)) for row in x]).flatten(1))


def test_a_convolution_of_a_single_row() -> None:
    held(RowByRow, draw(5, 4, 6))


class Again(nn.Module):
    """A part that is computed again on the way back, in which a matrix is square and could be taken for its turned."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.activation = activation

    def part(self, x: Tensor) -> Tensor:
        return self.activation(self.second(self.activation(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(checkpoint(self.part, self.first(x), use_reentrant=False))


@pytest.mark.parametrize("activation", [torch.tanh, functional.silu])
def test_a_part_that_is_computed_again(activation: Callable[[Tensor], Tensor]) -> None:
    held(lambda: Again(activation), draw(11, 5))
