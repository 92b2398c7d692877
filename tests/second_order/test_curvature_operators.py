"""Curvature operators of networks against dense derivatives, whatever the chunks, the layers and the loss."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.core import Data
from calclab.errors import UserError
from calclab.numerics.chunks import MEMORY, Chunks, graph_bytes, plan
from calclab.numerics.lanes import measure_lanes
from calclab.numerics.operators import dense_hessian, dense_jacobian
from calclab.second_order import choose, curvature, gradient_cost, layers, positions, value_and_gradient
from calclab.subject.network import Network, network


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def data_of(
    inputs: Tensor, classes: int = 3, targets: Tensor | None = None, classification: bool | None = None
) -> Data:
    if targets is None:
        targets = torch.randint(classes, (len(inputs),), generator=torch.Generator().manual_seed(5))
    classification = targets.ndim == 1 if classification is None else classification
    count = inputs[0].numel()
    names = tuple(f"x{i}" for i in range(count))
    return Data("rows", inputs, targets, names, tuple(f"c{i}" for i in range(classes)), classification)


class Residual(nn.Module):
    """Convolutions with batch normalisation, a stride and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.short = nn.Conv2d(2, 4, 1, stride=2)
        self.output = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.group(self.second(torch.relu(self.norm(self.first(x))))) + self.short(x)
        return self.output(functional.gelu(y).mean((2, 3)))


class Sentence(nn.Module):
    """An embedding, learned positions, a stock encoder in eval mode with dropout, the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.position = nn.Parameter(0.1 * torch.randn(5, 4))
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.3, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.output = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.encoder(self.embedding(x) + self.position).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.recurrent = kind(3, 4, batch_first=True)
        self.output = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.recurrent(x)[0][:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


def tokens() -> Data:
    return data_of(torch.randint(7, (9, 5), generator=torch.Generator().manual_seed(3)))


CASES: dict[str, tuple[Any, Any]] = {
    "mlp": (mlp, lambda: data_of(draw(11, 5))),
    "relu": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), lambda: data_of(draw(11, 5))),
    "residual": (Residual, lambda: data_of(draw(7, 2, 6, 6))),
    "encoder": (Sentence, tokens),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: data_of(draw(9, 4, 3))),
    "gru": (lambda: Recurrent(nn.GRU), lambda: data_of(draw(9, 4, 3))),
}


def made(name: str, **given: Any) -> Network:
    module, data = CASES[name]
    return network(module, data(), name=name, seed=1, **given)


def dense_gauss_newton(net: Network) -> Tensor:
    """Jᵀ H J with both dense, from torch's own derivatives."""
    θ = net.flatten(net.parameters())
    J = dense_jacobian(lambda z: net.evaluate(net.data.inputs, net.unflatten(z)).reshape(-1), θ)
    y = net.evaluate(net.data.inputs).detach().reshape(-1)
    H = dense_hessian(lambda z: net.loss(z.reshape(len(net.data.inputs), -1), net.data.targets), y)
    return J.T @ H @ J


def row_gradients(net: Network) -> Tensor:
    """(B, n), one backward pass a row."""
    θ = net.flatten(net.parameters())
    rows = []
    for i in range(len(net.data.inputs)):
        x, t = net.data.inputs[i : i + 1], net.data.targets[i : i + 1]
        leaf = θ.clone().requires_grad_()
        rows.append(torch.autograd.grad(net.loss(net.evaluate(x, net.unflatten(leaf)), t), leaf)[0])
    return torch.stack(rows)


def truth(net: Network, kind: str) -> Tensor:
    θ = net.flatten(net.parameters())
    if kind == "hessian":
        return dense_hessian(net.objective().call, θ)
    if kind == "gauss_newton":
        return dense_gauss_newton(net)
    g = row_gradients(net)
    if kind == "gradient_covariance":
        return torch.cov(g.T, correction=0)
    return g.T @ g / (len(g) if net.loss.mean else 1)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton", "empirical_fisher", "gradient_covariance"])
@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_dense_matrix(name: str, kind: str) -> None:
    net = made(name)
    expected = truth(net, kind)
    V = draw(len(expected), 5, seed=2)
    for lanes in (1, 3):
        A = curvature(net, kind, lanes=lanes)
        torch.testing.assert_close(A @ V, expected @ V, atol=1e-10, rtol=1e-8)
        torch.testing.assert_close(A @ V[:, 0], expected @ V[:, 0], atol=1e-10, rtol=1e-8)
        assert A.products == 6


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance"])
@pytest.mark.parametrize("loss", ["mse", "half_mse", "huber", "bce"])
def test_chunks_of_unequal_length_make_the_matrix_of_one_batch(loss: str, kind: str) -> None:
    targets = draw(11, 2, seed=8).sigmoid()
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    net = network(module, data_of(draw(11, 5), 2, targets), name="net", loss=loss)
    if (loss, kind) == ("huber", "fisher"):
        with pytest.raises(UserError, match="likelihood"):
            curvature(net, kind)
        return
    whole = curvature(net, kind, seed=3).dense()
    assert whole.abs().max() > 1e-3
    for rows in (1, 4, 7):  # 11 = 4 + 4 + 3 = 7 + 4
        torch.testing.assert_close(curvature(net, kind, rows=rows, seed=3).dense(), whole, atol=1e-12, rtol=1e-10)
    if kind not in ("fisher",):
        torch.testing.assert_close(whole, truth(net, kind), atol=1e-12, rtol=1e-9)


def test_sums_are_sums() -> None:
    """Of Σ y the Hessian is that of the sum, and the covariance that of a row's gradient."""
    net = network(mlp, data_of(draw(7, 5), 3), name="net", loss="sum")
    for kind in ("hessian", "gauss_newton", "empirical_fisher", "gradient_covariance"):
        torch.testing.assert_close(curvature(net, kind, rows=3).dense(), truth(net, kind), atol=1e-12, rtol=1e-9)


def test_the_fisher_matrix_is_the_gauss_newton_matrix_on_average() -> None:
    """Cross-entropy, bce and squared errors are negative log-likelihoods: E F = G. Errors fall like 1/√samples."""
    module = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3))
    for loss, targets in (("cross_entropy", None), ("bce", None), ("mse", draw(6, 3)), ("half_mse", draw(6, 3))):
        net = network(module, data_of(draw(6, 5), 3, targets), name="net", loss=loss)
        G = curvature(net, "gauss_newton").dense()
        gaps = [
            (curvature(net, "fisher", samples=samples, seed=4).dense() - G).norm() / G.norm()
            for samples in (100, 10_000)
        ]
        assert gaps[0] < 0.4
        assert gaps[1] < 0.04
        twice = [curvature(net, "fisher", seed=seed).dense() for seed in (4, 4, 5)]
        assert torch.equal(twice[0], twice[1])
        assert not torch.allclose(twice[0], twice[2])


def test_blocks_by_layer_and_by_pattern() -> None:
    net = made("mlp")
    H = curvature(net).dense()
    found = layers(net)
    assert list(found) == ["0", "2", "4"]
    assert found["2"] == slice(36, 64)
    torch.testing.assert_close(curvature(net, parameters=["2"]).dense(), H[36:64, 36:64], atol=1e-12, rtol=1e-9)
    chosen = choose(net, ["*.bias"])
    assert chosen == ("0.bias", "2.bias", "4.bias")
    at = positions(net, chosen)
    torch.testing.assert_close(curvature(net, parameters=["*.bias"]).dense(), H[at][:, at], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(curvature(net).sub(at).dense(), H[at][:, at], atol=1e-12, rtol=1e-9)
    G = curvature(net, "gauss_newton", parameters=["4.*"])
    torch.testing.assert_close(G.dense(), truth(net, "gauss_newton")[64:, 64:], atol=1e-12, rtol=1e-9)
    with pytest.raises(UserError, match="The layers are 0, 2, 4"):
        curvature(net, parameters=["hidden"])
    with pytest.raises(UserError, match="gauss_newton"):
        curvature(net, "hesian")


def test_another_point_and_other_rows() -> None:
    net = made("mlp")
    θ = net.flatten(net.parameters()) + 0.1
    torch.testing.assert_close(
        curvature(net, at=θ).dense(), dense_hessian(net.objective().call, θ), atol=1e-12, rtol=1e-9
    )
    other = data_of(draw(4, 5, seed=9))
    expected = dense_hessian(network(net.module, other, name="net").objective().call, θ)
    torch.testing.assert_close(curvature(net, at=θ, data=other).dense(), expected, atol=1e-12, rtol=1e-9)
    value, g = value_and_gradient(net, at=θ, rows=4)
    torch.testing.assert_close(value, net.objective().call(θ))
    leaf = θ.clone().requires_grad_()
    torch.testing.assert_close(g, torch.autograd.grad(net.objective().call(leaf), leaf)[0])


def test_single_precision_is_added_up_in_double() -> None:
    module, data = mlp(), draw(11, 5)
    nets = [
        network(module, data_of(data.to(dtype)), name="net", dtype=dtype) for dtype in (torch.float32, torch.float64)
    ]
    single, double = (curvature(net, rows=3) for net in nets)
    V = draw(single.shape[1], 2, seed=1)
    assert (single @ V).dtype == torch.float64
    torch.testing.assert_close(single @ V, double @ V, atol=1e-5, rtol=1e-4)


# --- memory ---


def test_the_memory_is_kept_to() -> None:
    net = network(nn.Sequential(nn.Linear(5, 200), nn.Tanh(), nn.Linear(200, 3)), data_of(draw(400, 5)), name="wide")
    free, tight = curvature(net), curvature(net, memory=1e6)
    plans: list[Chunks] = [A.matmat.func.__self__.chunks for A in (free, tight)]  # type: ignore[attr-defined]
    assert len(plans[0].windows) == 1
    assert len(plans[1].windows) > 4
    assert plans[1].kept < len(plans[1].windows), "some graphs must be built again for this to test much"
    assert plans[1].bytes * (plans[1].kept + plans[1].lanes) <= 1e6 + plans[1].bytes
    V = draw(free.shape[1], 3, seed=2)
    for _ in range(2):
        torch.testing.assert_close(tight @ V, free @ V, atol=1e-12, rtol=1e-9)


def test_bounds_cover_all_rows_once() -> None:
    def build(window: slice) -> Tensor:
        leaf = torch.ones(100, dtype=torch.float64, requires_grad=True)
        return (leaf.expand(window.stop - window.start, 100).clone().exp()).sum()

    sizes = graph_bytes(build, 137)
    for memory in (MEMORY, 4e5, 1e5, 1.0):
        found = plan(sizes, 137, None, memory)
        rows = [row for window in found.windows for row in range(window.start, window.stop)]
        assert rows == list(range(137))
        lengths = {window.stop - window.start for window in found.windows}
        assert max(lengths) - min(lengths) <= 1
    assert len(plan(sizes, 137, None, 1.0).windows) == 137


# --- right where others are wrong ---


class Odd(nn.Module):
    """Dropout, batch normalisation, a frozen layer, tied weights, an unused layer, a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.tied = nn.Linear(5, 4)
        self.tied.weight = self.first.weight
        self.unused = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.output = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(torch.tanh(self.first(x)))) + self.tied(x)
        return self.output(self.scale * torch.tanh(self.frozen(y)))


def test_the_module_is_left_exactly_as_it_was_found() -> None:
    torch.manual_seed(3)
    module = Odd().double().train()
    module(draw(20, 5)).sum().backward()
    state, gradients = copy.deepcopy(module.state_dict()), [p.grad for p in module.parameters()]
    copies = [None if g is None else g.clone() for g in gradients]
    random = torch.random.get_rng_state()
    net = network(module, data_of(draw(11, 5)), name="odd")
    for kind in ("hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance"):
        A = curvature(net, kind, rows=4)
        first, second = A @ torch.ones(A.shape[1], dtype=A.dtype), A @ torch.ones(A.shape[1], dtype=A.dtype)
        assert torch.equal(first, second), "dropout is frozen"
    assert module.training
    assert all(part.training for part in module.modules())
    for own in (module, net.module):
        for name, value in own.state_dict().items():
            assert torch.equal(value, state[name])
    for p, g, value in zip(module.parameters(), gradients, copies, strict=True):
        assert p.grad is g
        assert g is None or (torch.equal(g, value) and not g.requires_grad)
    assert all(p.grad is None or not p.grad.requires_grad for p in net.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton", "empirical_fisher"])
def test_tied_frozen_and_unused_parameters(kind: str) -> None:
    """A tied weight is one parameter, a frozen one none, and an unused one has rows of zeros."""
    net = network(Odd, data_of(draw(11, 5)), name="odd", seed=3)
    names = list(net.shapes)
    assert "tied.weight" not in names
    assert not any(name.startswith("frozen") for name in names)
    A = curvature(net, kind).dense()
    torch.testing.assert_close(A, truth(net, kind), atol=1e-11, rtol=1e-8)
    unused = positions(net, choose(net, ["unused"]))
    assert torch.equal(A[unused], torch.zeros_like(A[unused]))


def test_a_loss_that_is_linear_in_the_parameters() -> None:
    net = network(nn.Linear(5, 3), data_of(draw(7, 5), 3), name="linear", loss=lambda y, t: y.mean())
    for kind in ("hessian", "gauss_newton"):
        A = curvature(net, kind)
        assert torch.equal(A.dense(), torch.zeros(A.shape, dtype=A.dtype))


def test_one_parameter() -> None:
    """Of ½(w x - t)² the Hessian is the mean of x²."""
    x, t = draw(7, 1), draw(7, 1, seed=1)
    net = network(nn.Linear(1, 1, bias=False), data_of(x, 1, t), name="one", loss="half_mse")
    for kind in ("hessian", "gauss_newton"):
        torch.testing.assert_close(curvature(net, kind).dense(), x.square().mean().reshape(1, 1))
        assert measure_lanes(curvature(net, kind)) == 1


LOSSES: dict[str, tuple[Any, Any]] = {
    "mse": (nn.MSELoss(), lambda: draw(9, 3, seed=4)),
    "mse summed": (nn.MSELoss(reduction="sum"), lambda: draw(9, 3, seed=4)),
    "huber": (nn.HuberLoss(delta=0.3), lambda: draw(9, 3, seed=4)),
    "kl": (lambda y, t: nn.KLDivLoss(reduction="batchmean")(y.log_softmax(1), t), lambda: draw(9, 3).softmax(1)),
    "cross entropy": (nn.CrossEntropyLoss(label_smoothing=0.1), lambda: None),
    "custom": (lambda y, t: ((y - t).square() + 0.1 * (y - t) ** 4).sum(1), lambda: draw(9, 3, seed=4)),
}


INDEFINITE: dict[str, tuple[Any, Any]] = {  # a saddle in the outputs of every row, with parts that mix them
    "waves": (lambda y, t: torch.sin(3 * (y - t)).sum(1) + (y[:, 0] * y[:, 1]), lambda: draw(9, 3, seed=4)),
    "linear": (lambda y, t: (y * t).sum(1), lambda: draw(9, 3, seed=4)),
    "one output": (lambda y, t: y[:, 0] ** 3 * t[:, 1], lambda: draw(9, 3, seed=4)),
}


@pytest.mark.parametrize("name", [*LOSSES, *INDEFINITE])
def test_library_losses_and_own_ones(name: str) -> None:
    loss, targets = {**LOSSES, **INDEFINITE}[name]
    data = data_of(draw(9, 5), 3, targets())
    net = network(mlp, data, name="net", loss=loss, seed=2)
    plain = copy.deepcopy(net.module)

    def whole(θ: Tensor) -> Tensor:
        given = loss(torch.func.functional_call(plain, net.unflatten(θ), (data.inputs,)), data.targets)
        return given if given.ndim == 0 else given.mean()

    H = dense_hessian(whole, net.flatten(net.parameters()))
    torch.testing.assert_close(curvature(net, rows=4).dense(), H, atol=1e-11, rtol=1e-8)
    for kind in ("gauss_newton", "empirical_fisher"):
        torch.testing.assert_close(curvature(net, kind, rows=4).dense(), truth(net, kind), atol=1e-11, rtol=1e-8)


def test_a_loss_that_takes_other_outputs_is_refused() -> None:
    with pytest.raises(UserError, match="does not take"):
        network(mlp, data_of(draw(9, 5)), name="net", loss=nn.BCELoss())


def test_a_sequence_has_a_loss_of_its_own() -> None:
    """Outputs (B, classes, places), targets (B, places) of class numbers."""

    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 4)
            self.output = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(torch.tanh(self.embedding(x))).transpose(1, 2)

    x = torch.randint(7, (6, 5), generator=torch.Generator().manual_seed(1))
    data = data_of(x, 15, x % 3, classification=False)
    net = network(Places, data, name="places", loss=functional.cross_entropy, train=3)
    for kind in ("hessian", "gauss_newton"):
        torch.testing.assert_close(curvature(net, kind, rows=4).dense(), truth(net, kind), atol=1e-11, rtol=1e-8)


def test_batch_statistics_are_not_cut_into_chunks() -> None:
    """A normalisation without running statistics mixes rows: the Hessian is of one batch, and rows have no gradient."""
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh(), nn.Linear(4, 3))
    net = network(module, data_of(draw(9, 5)), name="mixed")
    H = dense_hessian(net.objective().call, net.flatten(net.parameters()))
    torch.testing.assert_close(curvature(net, rows=2).dense(), H, atol=1e-11, rtol=1e-8)
    with pytest.raises(UserError, match="mixes rows"):
        curvature(net, "empirical_fisher")


def test_embeddings_take_whole_numbers_of_any_dtype() -> None:
    """Tokens as integers, and as the numbers of a table, give one network; there is no derivative by either."""
    whole = tokens()
    floats = Data("rows", whole.inputs.double(), whole.targets, whole.features, whole.classes, True)
    nets = [network(Sentence, data, name="encoder", seed=1) for data in (whole, floats)]
    θ = nets[0].flatten(nets[0].parameters())
    first, second = (curvature(net) @ torch.ones_like(θ) for net in nets)
    torch.testing.assert_close(first, second)
    with pytest.raises(UserError, match="whole numbers"):
        nets[0].response()
    with pytest.raises(UserError, match="looks something up"):
        nets[1].response()


def test_costs_are_measured() -> None:
    net = made("mlp")
    assert gradient_cost(net) > 0
    A = curvature(net, lanes=64)
    assert measure_lanes(A, most=16) in (1, 4, 8, 16)
    assert measure_lanes(A.with_lanes(1)) == 1


class Largest(nn.Module):
    """Rows measured by the largest entry of all."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(x / x.abs().max())


@pytest.mark.parametrize("row", [0, 4, 10])
def test_rows_that_are_mixed_by_one_of_them(row: int) -> None:
    """That one by itself is what it is among the others."""
    inputs = draw(11, 5)
    inputs[row] *= 50
    net = network(Largest, data_of(inputs), name="net", seed=1)
    expected = dense_hessian(net.objective().call, net.flatten(net.parameters()))
    torch.testing.assert_close(curvature(net, rows=3).dense(), expected, atol=1e-12, rtol=1e-9)
    with pytest.raises(UserError, match="mixes rows"):
        curvature(net, "gauss_newton")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lanes": 0}, "lanes=0"),
        ({"lanes": -1}, "lanes=-1"),
        ({"rows": 0}, "rows=0"),
        ({"kind": "fisher", "samples": 0}, "samples=0"),
        ({"parameters": []}, "parameters"),
        ({"at": torch.zeros(3)}, "at has 3"),
    ],
)
def test_what_would_give_no_curvature_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        curvature(made("mlp"), **given)


def test_a_point_is_taken_in_the_dtype_of_the_network() -> None:
    net = made("mlp")
    θ = torch.zeros(len(net.variables))
    assert torch.equal(curvature(net, at=θ).dense(), curvature(net, at=θ.double()).dense())


def test_too_little_memory_for_one_row_is_said() -> None:
    with pytest.raises(UserError, match=r"one row takes .* gigabytes\. Type memory="):
        curvature(made("mlp"), memory=10.0)


def test_of_the_data_only_the_rows_of_a_graph_count_as_its_memory() -> None:
    """Rows lie among all others in memory: a graph that keeps some does not keep all."""
    few, many = (data_of(draw(count, 1, 12, 12)) for count in (16, 4000))
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(200, 3))
    small, large = (curvature(network(module, data, name="net"), memory=3e7) for data in (few, many))
    own: Any = large.matmat.func.__self__  # type: ignore[attr-defined]
    assert small.shape == large.shape
    assert min(window.stop - window.start for window in own.chunks.windows) > 50
