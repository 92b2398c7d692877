"""Products by hand are those of autograd's graph, for every chain; what is no chain is not taken for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.network.activation import ACTIVATIONS
from calclab.network.mlp import Mlp
from calclab.second_order import curvature, operators
from calclab.second_order.chain import chain
from calclab.second_order.graph import subject
from calclab.second_order.subset import choose
from calclab.subject.network import Network, network


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(count: int = 23, features: int = 5, classes: int = 3) -> Data:
    targets = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(5))
    names, kinds = tuple(f"x{i}" for i in range(features)), tuple(f"c{i}" for i in range(classes))
    return Data("rows", draw(count, features), targets, names, kinds, True)


def made(module: Callable[[], nn.Module], data: Data | None = None, **given: object) -> Network:
    return network(module, rows() if data is None else data, name="net", seed=1, **given)  # type: ignore[arg-type]


def recognised(net: Network) -> bool:
    return chain(subject(net, net.data, None, choose(net, None))) is not None


def by_graph(net: Network, kind: str, monkeypatch: pytest.MonkeyPatch, **given: object) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(operators, "chain", lambda about: None)
        return curvature(net, kind, **given).dense()  # type: ignore[arg-type]


CHAINS: dict[str, Callable[[], nn.Module]] = {
    "one layer": lambda: nn.Linear(5, 3),
    "no bias": lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3)),
    "two linear": lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 3)),
    "ends bent": lambda: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3), nn.Softplus()),
    "bent twice": lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Sigmoid(), nn.Linear(4, 3)),
    "starts bent": lambda: nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(5, 4), nn.ELU(), nn.Linear(4, 3)),
    "in place": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("kind", operators.KINDS)
@pytest.mark.parametrize("name", CHAINS)
def test_products_are_those_of_the_graph(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = made(CHAINS[name])
    assert recognised(net)
    torch.testing.assert_close(curvature(net, kind).dense(), by_graph(net, kind, monkeypatch), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_bends_as_autograd_says(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = made(lambda shape, outputs: Mlp(shape, outputs, width=6, depth=2, activation=activation, bias=True))
    assert recognised(net)
    torch.testing.assert_close(curvature(net).dense(), by_graph(net, "hessian", monkeypatch), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("loss", ["mse", "half_mse", "mae", "huber", "bce", "sum", nn.CrossEntropyLoss(), nn.MSELoss()])
def test_every_loss(loss: str | nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows()
    if not isinstance(loss, nn.CrossEntropyLoss):
        data = Data(
            "rows", data.inputs, draw(len(data.inputs), 3, seed=9).sigmoid(), data.features, data.classes, False
        )
    net = made(CHAINS["bent twice"], data, loss=loss)
    torch.testing.assert_close(curvature(net).dense(), by_graph(net, "hessian", monkeypatch), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("parameters", [["0"], ["2.weight"], ["4.bias"], ["0.bias", "4.weight"], ["2", "4"]])
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_a_part_of_the_parameters(kind: str, parameters: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    net = made(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)))
    expected = by_graph(net, kind, monkeypatch, parameters=parameters)
    torch.testing.assert_close(curvature(net, kind, parameters=parameters).dense(), expected, atol=1e-12, rtol=1e-10)


def test_frozen_layers_and_another_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def module() -> nn.Module:
        layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
        layers[2].requires_grad_(False)
        return layers

    net = made(module)
    assert recognised(net)
    θ = draw(sum(net.sizes), seed=4)
    expected = by_graph(net, "hessian", monkeypatch, at=θ)
    torch.testing.assert_close(curvature(net, at=θ).dense(), expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("lanes", [1, 7, 16])
@pytest.mark.parametrize("given", [{}, {"rows": 300}, {"memory": 3e5}])
def test_rows_in_chunks_and_tiles(given: dict[str, float], lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(1111)
    net = made(partial(Mlp, width=200, depth=1, activation="tanh", bias=True), data)
    V = draw(sum(net.sizes), 7, seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(operators, "chain", lambda about: None)
        expected = curvature(net, lanes=1) @ V
    torch.testing.assert_close(curvature(net, lanes=lanes, **given) @ V, expected, atol=1e-11, rtol=1e-9)  # type: ignore[arg-type]


class Stopped(nn.Module):
    """Two layers with something between them that no layer does."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(5, 4), nn.Linear(4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.second(self.first(x))))


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "detached": lambda: Stopped(Tensor.detach),
    "functional": lambda: Stopped(torch.tanh),
    "in place": lambda: Stopped(torch.relu_),
    "tied": Tied,
    "normalised": lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
    "with a slope to learn": lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)),
    "called twice": lambda: nn.Sequential(nn.Linear(5, 5), nn.Sequential(*[nn.Linear(5, 5)] * 2), nn.Linear(5, 3)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_chain(name: str) -> None:
    assert not recognised(made(OTHERS[name]))


def test_a_detach_is_found_though_the_first_row_tells_nothing() -> None:
    """Of a row of zeros no layer without a bias has a gradient, with or without a detach behind it."""

    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.bend, self.output = nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.bend(self.first(x)).detach())

    data = rows()
    data.inputs[0] = 0
    net = made(Detached, data)
    assert not recognised(net)
    assert float(curvature(net).dense()[:20].abs().max()) == 0


def test_a_compiled_layer_is_no_part_of_a_chain() -> None:
    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.output = torch.jit.script(nn.Linear(5, 4)), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(torch.tanh(self.first(x)))

    net = made(Compiled)
    assert not recognised(net)
    assert curvature(net).shape == (39, 39)
