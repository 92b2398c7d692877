"""Norms of layers are bounds: never below what the layer does, and equal to it where that is simple."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import jacrev

from calclab.numerics.jacobian import Layer, norms
from calclab.numerics.jacobian.norms import gram, norm

torch.set_num_threads(1)


def layer(module: nn.Module, shape: tuple[int, ...]) -> Layer:
    with torch.no_grad():
        after = module.double().eval()(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
    return Layer("layer", module, shape, tuple(after))


def largest(made: Layer, x: torch.Tensor) -> float:
    J = jacrev(lambda z: made.module(z.reshape(1, *made.before)).reshape(-1))(x.reshape(-1)).detach()
    return float(torch.linalg.matrix_norm(J, 2))


CONVOLUTIONS = {
    "same": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 7, 6)),
    "wide padding": (lambda: nn.Conv2d(2, 3, 3, padding=4), (2, 5, 6)),
    "strided": (lambda: nn.Conv2d(3, 2, (3, 2), stride=2, bias=False), (3, 8, 7)),
    "dilated": (lambda: nn.Conv2d(1, 4, 3, dilation=2, padding=1), (1, 9, 9)),
    "grouped": (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 6, 6)),
    "circular": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
    "named padding": (lambda: nn.Conv1d(2, 3, 4, padding="same"), (2, 20)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_by_matrix_exactly_and_by_bounds_from_above(name: str, monkeypatch) -> None:
    torch.manual_seed(0)
    make, shape = CONVOLUTIONS[name]
    made = layer(make(), shape)
    truth = largest(made, torch.randn(shape, dtype=torch.float64))
    assert norm(made) == pytest.approx(truth, rel=1e-12)
    monkeypatch.setattr(norms, "DENSE", 0)
    assert truth <= norm(made) <= 3 * truth


def test_the_circular_bound_is_near_on_a_large_image(monkeypatch) -> None:
    torch.manual_seed(0)
    made = layer(nn.Conv2d(2, 2, 3, padding=1), (2, 20, 20))
    truth = norm(made)
    monkeypatch.setattr(norms, "DENSE", 0)
    assert truth <= norm(made) <= 1.02 * truth


def test_gram_iteration_bounds_and_nearly_meets_the_norm() -> None:
    torch.manual_seed(0)
    for shape in ((40, 60), (60, 40), (1, 5)):
        W = torch.randn(shape, dtype=torch.float64) * 1e60
        truth = float(torch.linalg.matrix_norm(W, 2))
        assert truth * (1 - 1e-12) <= gram(W) <= 1.01 * truth


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.AvgPool2d(2), (3, 6, 6)),
        (nn.AvgPool1d(3, stride=1, padding=1), (2, 9)),
        (nn.AdaptiveAvgPool2d(1), (3, 4, 5)),
        (nn.MaxPool2d(2), (2, 6, 6)),
        (nn.MaxPool2d(3, stride=1, padding=1), (1, 5, 5)),
        (nn.LayerNorm(7), (7,)),
        (nn.GroupNorm(2, 4), (4, 3, 3)),
        (nn.Softmax(dim=1), (6,)),
        (nn.BatchNorm2d(3), (3, 4, 4)),
        *((made(), (8,)) for made in norms.STEEPEST if made is not nn.Softmax),
        (nn.ELU(2.0), (5,)),
        (nn.LeakyReLU(1.5), (5,)),
    ],
)
def test_no_point_stretches_more_than_the_norm(module: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    made = layer(module, shape)
    bound = norm(made)
    assert bound is not None
    for size in (1e-4, 0.1, 1.0, 5.0):
        for _ in range(5):
            seen = largest(made, size * torch.randn(shape, dtype=torch.float64) + size)
            assert seen <= bound * (1 + 1e-10)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(3, 2, 1, 7), (3, 1, 0, 6), (2, 1, 0, 5), (5, 2, 2, 9), ((3, 2), (2, 1), (1, 0), 8), (2, 2, 0, 6), (2, 3, 0, 7)],
)
def test_a_peak_in_several_windows_meets_the_norm_of_max_pooling(kernel, stride, padding, size) -> None:
    """The largest pixel is copied once for each window that it lies in: the norm is the root of the most windows."""
    made = layer(nn.MaxPool2d(kernel, stride, padding), (1, size, size))
    copies = []
    for at in range(size * size):
        x = torch.zeros(1, size * size, dtype=torch.float64)
        x[0, at] = 1
        copies.append(float(made.module(x.view(1, 1, size, size)).sum()))
    assert norm(made) == pytest.approx(max(copies) ** 0.5, rel=1e-12)


def test_a_dilated_window_of_maxima_is_bounded() -> None:
    made = layer(nn.MaxPool2d(2, stride=1, dilation=2), (1, 6, 6))
    x = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    x[..., 2, 2] = 1
    assert float(made.module(x).sum()) ** 0.5 <= norm(made)


def test_simple_ones_are_met() -> None:
    """Means over windows that lie apart: 1/k. Normalisation of nearly constant inputs: γ / √ε. Softmax of two: 1/2."""
    assert norm(layer(nn.AvgPool2d(2), (1, 4, 4))) == pytest.approx(0.5)
    assert norm(layer(nn.AdaptiveAvgPool2d(1), (2, 3, 3))) == pytest.approx(1 / 3)
    made = layer(nn.LayerNorm(5), (5,))
    assert largest(made, torch.zeros(5, dtype=torch.float64)) == pytest.approx(norm(made))
    soft = layer(nn.Softmax(dim=1), (2,))
    assert largest(soft, torch.zeros(2, dtype=torch.float64)) == pytest.approx(norm(soft))


def test_what_is_not_known_is_not_made_up() -> None:
    assert norm(Layer("l", nn.LSTM(3, 4), (5, 3), (5, 4))) is None
    assert norm(Layer("b", nn.Bilinear(2, 2, 2), (2,), (2,))) is None


class Standardised(nn.Conv2d):
    """A kernel of its own."""

    def forward(self, x):
        return nn.functional.conv2d(x, 10 * self.weight, self.bias)


class Louder(nn.AvgPool2d):
    def forward(self, x):
        return 5 * super().forward(x)


@pytest.mark.parametrize("module", [Standardised(2, 2, 3), Louder(2)])
def test_nothing_is_claimed_of_a_subclass_that_does_something_else(module: nn.Module) -> None:
    assert norm(layer(module, (2, 6, 6))) is None
