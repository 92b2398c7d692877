"""The exact diagonal of the Gauss-Newton matrix, and when it is that of the Hessian."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.errors import UserError
from calclab.second_order import (
    choose,
    curvature,
    curves_only_through_the_loss,
    diagonal,
    diagonal_gauss_newton,
    positions,
    trace_gauss_newton,
)
from calclab.second_order.capture import known_layers
from calclab.second_order.graph import subject
from calclab.subject.network import Network, network

place = importlib.util.spec_from_file_location("cases", Path(__file__).parent / "test_curvature_operators.py")
assert place is not None and place.loader is not None  # noqa: PT018
cases: Any = importlib.util.module_from_spec(place)
place.loader.exec_module(cases)


def closed(net: Network) -> set[str]:
    return set(known_layers(subject(net, net.data, None, choose(net, None))))


class Bits(nn.Module):
    """Every kind of layer with a closed form, a shared one, rows second, a weight used by hand, and work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.shared = nn.Linear(6, 6)
        self.turned = nn.Linear(6, 6)
        self.hand = nn.Linear(6, 6)
        self.batch = nn.BatchNorm1d(6)
        self.output = nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.tokens(x)).relu_()
        y = self.shared(torch.tanh(self.shared(y)))
        y = self.turned(y.transpose(0, 1)).transpose(0, 1)
        y = self.hand(y) + functional.linear(y, self.hand.weight)
        return self.output(self.batch((y * self.scale).mean(1)))


@pytest.mark.parametrize("name", [*cases.CASES, "bits", "grouped"])
def test_the_diagonal_is_that_of_the_dense_matrix(name: str) -> None:
    if name == "bits":
        net = network(Bits, cases.data_of(cases.draw(8, 5, 4)), name=name, seed=1)
        assert closed(net) == {"tokens", "norm", "batch", "output"}
    elif name == "grouped":
        module = nn.Sequential(
            nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 1), groups=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.LazyLinear(3),
        )
        net = network(module, cases.data_of(cases.draw(8, 4, 5, 6)), name=name)
        assert closed(net) == {"0", "3"}
    else:
        net = cases.made(name)
    expected = cases.dense_gauss_newton(net).diagonal()
    for rows in (None, 3):
        torch.testing.assert_close(diagonal_gauss_newton(net, rows=rows), expected, atol=1e-12, rtol=1e-8)
    torch.testing.assert_close(trace_gauss_newton(net), expected.sum())
    some = choose(net, ["*bias*"])
    torch.testing.assert_close(
        diagonal_gauss_newton(net, parameters=some), expected[positions(net, some)], atol=1e-12, rtol=1e-8
    )


@pytest.mark.parametrize("name", ["lstm", "bits", "mlp"])
def test_the_same_in_no_memory_at_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One column of the root after another, one row after another, where there is no room for two."""
    data = cases.data_of(cases.draw(8, 5, 4))
    net = network(Bits, data, name=name, seed=1) if name == "bits" else cases.made(name)
    monkeypatch.setattr(diagonal, "NUMBERS", 1)
    expected = cases.dense_gauss_newton(net).diagonal()
    for given in ({"memory": 1.0}, {"memory": 1.0, "rows": 3}):
        torch.testing.assert_close(diagonal_gauss_newton(net, **given), expected, atol=1e-12, rtol=1e-8)


@pytest.mark.parametrize("name", [*cases.LOSSES, "bce", "half_mse"])
def test_of_every_loss(name: str) -> None:
    loss, targets = cases.LOSSES.get(name, (name, lambda: cases.draw(9, 3).sigmoid()))
    net = network(cases.mlp, cases.data_of(cases.draw(9, 5), 3, targets()), name="net", loss=loss, seed=2)
    expected = cases.dense_gauss_newton(net).diagonal()
    torch.testing.assert_close(diagonal_gauss_newton(net), expected, atol=1e-12, rtol=1e-7)


def test_a_loss_that_is_not_convex_has_no_root() -> None:
    data = cases.data_of(cases.draw(9, 5), 3, cases.draw(9, 3))
    net = network(cases.mlp, data, name="net", loss=lambda y, t: torch.sin(3 * (y - t)).sum(1))
    with pytest.raises(UserError, match="not convex"):
        diagonal_gauss_newton(net)


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y * y)


class Gated(Squared):
    """A product of two parts without a common parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) * functional.relu(self.gate(x)) / 3)


class Twice(Squared):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.inner(functional.relu(self.inner(self.first(x)))))


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 4), nn.PReLU(), nn.Linear(4, 3)
    )


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
        nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


PIECEWISE: dict[str, tuple[Any, tuple[int, ...], bool]] = {
    "deep": (deep, (5,), True),
    "pooled": (pooled, (2, 8, 8), True),
    "gated": (Gated, (5,), True),
    "tanh": (cases.mlp, (5,), False),
    "squared": (Squared, (5,), False),
    "twice": (Twice, (5,), False),
    "group norm": (cases.Residual, (2, 6, 6), False),
    "tied": (cases.Odd, (5,), False),
}


@pytest.mark.parametrize("name", PIECEWISE)
def test_whether_the_diagonals_agree_is_read_from_the_graph(name: str) -> None:
    module, shape, expected = PIECEWISE[name]
    net = network(module, cases.data_of(cases.draw(9, *shape)), name=name, seed=4)
    assert curves_only_through_the_loss(net) is expected
    H, G = curvature(net).dense().diagonal(), diagonal_gauss_newton(net)
    assert torch.allclose(H, G, atol=1e-12, rtol=1e-8) is expected
    if expected:
        full = curvature(net).dense() - curvature(net, "gauss_newton").dense()
        assert full.abs().max() > 1e-4, "the matrices must differ off the diagonal for this to test much"


class Twice(nn.Module):
    """A layer whose weight is used once more by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.output = nn.Linear(5, 5, bias=False), nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(functional.linear(torch.relu(self.first(x)), self.first.weight))


class Stopped(nn.Module):
    """Layers that autograd does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.output = nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = torch.tanh(self.first(x))
        return self.output(torch.tanh(self.norm(y)) + y)


class Squared(torch.autograd.Function):
    """x w², under a name that autograd has for a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w * w

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x, w), (g,) = ctx.saved_tensors, gradients
        return g * w * w, (2 * g * x * w).sum(0)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.output = nn.Parameter(torch.tensor([0.5, 1.0, -0.7, 1.2, 0.3])), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(type("Mul", (Squared,), {}).apply(x, self.scale))


class Aside(nn.Module):
    """A layer whose output goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.aside, self.norm, self.output = (
            nn.Linear(5, 4),
            nn.Linear(4, 2),
            nn.LayerNorm(4),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.norm(self.first(x)))
        self.aside(y)
        return self.output(y)


@pytest.mark.parametrize("module", [Twice, Stopped, Own, Aside])
def test_what_the_first_row_or_a_name_does_not_tell(module: type[nn.Module]) -> None:
    """The first row is zeros: it tells no use of a weight from another."""
    inputs = cases.draw(9, 5)
    inputs[0] = 0
    net = network(module, cases.data_of(inputs), name="net", seed=1)
    G = cases.truth(net, "gauss_newton")
    torch.testing.assert_close(diagonal_gauss_newton(net), G.diagonal(), atol=1e-12, rtol=1e-9)
    if curves_only_through_the_loss(net):
        torch.testing.assert_close(cases.truth(net, "hessian").diagonal(), G.diagonal(), atol=1e-12, rtol=1e-9)
