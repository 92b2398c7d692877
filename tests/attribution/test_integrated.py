"""Integrated gradients: closed forms, exactness on piecewise linear networks, errors that hold."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calclab.attribution import attribute
from calclab.errors import UserError


def by_panels(net: nn.Module, x: Tensor, x0: Tensor, k: int, panels: int) -> Tensor:
    """The midpoint rule with very many panels, by autograd alone: another way to the same number."""
    total = torch.zeros_like(x)
    for α in ((torch.arange(panels, dtype=x.dtype) + 0.5) / panels).split(500):
        points = (x0 + α.view(-1, *[1] * x.ndim) * (x - x0)).flatten(0, 1).requires_grad_()
        (g,) = torch.autograd.grad(net(points)[:, k].sum(), points)
        total += g.view(len(α), *x.shape).sum(0)
    return (x - x0) * total / panels


PIECEWISE = {
    "relu": lambda n: (n.chain(nn.ReLU(), 5, 16, 16, 3), (7, 5)),
    "leaky_relu": lambda n: (n.chain(nn.LeakyReLU(0.3), 5, 16, 3), (7, 5)),
    "hardtanh": lambda n: (n.chain(nn.Hardtanh(-0.4, 0.9), 5, 16, 16, 3), (7, 5)),
    "prelu": lambda n: (n.chain(nn.PReLU(), 5, 16, 3), (7, 5)),
    "relu6 in branches": lambda n: (n.made(n.Residual()), (7, 5)),
    "convolution, max-pooling": lambda n: (n.made(n.Image()), (4, 2, 6, 6)),
    "average pooling": lambda n: (n.made(n.Image(nn.AvgPool2d(2))), (4, 2, 6, 6)),
    "linear": lambda n: (n.chain(nn.ReLU(), 5, 3), (7, 5)),
}


class Pooled(nn.Module):
    """Max-pooling alone, and a number for each class from what it leaves."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool, self.out = pool, nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(x).flatten(1))


@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)},
        {"kernel_size": (2, 4), "stride": (2, 3), "padding": (0, 2)},
        {"kernel_size": (2, 3), "stride": 1, "padding": (0, 1), "dilation": (3, 1)},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 2},
    ],
    ids=str,
)
def test_windows_that_are_not_square_are_exact_too(nets: SimpleNamespace, window: dict[str, object]) -> None:
    """Along a segment each maximum is convex and piecewise linear: panels of autograd come near."""
    net = Pooled(nn.MaxPool2d(**window)).double()
    x, x0 = nets.rows(2, 1, 5, 6), nets.rows(1, 1, 5, 6, seed=4)
    with torch.no_grad():
        net(x)
    found = attribute(nets.made(net), "integrated_gradients", x, target=1, baseline=x0, exact=True)
    assert float(found.gap.abs().max()) < 1e-12
    assert float(found.error.max()) < 1e-11
    (values,) = found.parts()
    assert float((values - by_panels(net, x, x0, 1, 400)).abs().max()) < 2e-2


@pytest.mark.parametrize("name", PIECEWISE)
def test_exact_where_piecewise_linear(nets: SimpleNamespace, name: str) -> None:
    net, shape = PIECEWISE[name](nets)
    x, x0 = nets.rows(*shape), 0.3 * nets.rows(1, *shape[1:], seed=4)
    found = attribute(net, "integrated_gradients", x, target=1, baseline=x0, exact=True)
    assert found.error_kind == "rounding"
    assert float(found.gap.abs().max()) < 1e-13
    (values,) = found.parts()
    reference = by_panels(net, x, x0, 1, 4000)
    assert float((values - reference).abs().max()) < 2e-3  # the midpoint rule's own error at kinks falls like 1/panels
    fine = by_panels(net, x, x0, 1, 16000)
    assert float((values - fine).abs().max()) < max(0.6 * float((values - reference).abs().max()), 1e-12)
    assert float(found.error.max()) < 1e-11


def test_exact_in_float32_is_within_its_error(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.ReLU(), 8, 32, 32, 3), nets.rows(50, 8)
    truth = attribute(net, "integrated_gradients", x, target=2, exact=True).values
    found = attribute(net.float(), "integrated_gradients", x.float(), target=2, exact=True)
    assert found.values.dtype == torch.float32
    change = (found.score - found.reference_score).abs().max()
    assert float(found.gap.abs().max() / change) < 1e-6
    off = (found.values.double() - truth).abs()
    assert float((off <= found.error).double().mean()) > 0.98
    assert float((off / found.error).max()) < 5


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus()])
def test_to_a_tolerance_where_smooth(nets: SimpleNamespace, activation: nn.Module) -> None:
    net, x = nets.chain(activation, 6, 20, 20, 2), 3 * nets.rows(12, 6)
    truth = attribute(net, "integrated_gradients", x, target=0, steps=400).values
    before = 0
    for tol in (1e-2, 1e-5, 1e-10):
        found = attribute(net, "integrated_gradients", x, target=0, tol=tol)
        assert found.converged
        assert found.error_kind == "quadrature change"
        off = (found.values - truth).abs()
        assert bool((off <= found.error + 1e-13).all())
        assert bool((found.error.amax(1) <= tol * found.values.abs().amax(1) * (1 + 1e-9)).all())
        assert found.gradients >= before
        before = found.gradients
    assert any("not piecewise linear" in note for note in found.notes)


def test_only_rows_that_need_it_are_refined(nets: SimpleNamespace) -> None:
    net = nets.chain(nn.Tanh(), 4, 16, 1)
    easy, hard = 0.01 * nets.rows(20, 4), 40 * nets.rows(1, 4)
    alone = attribute(net, "integrated_gradients", hard, tol=1e-9).gradients
    both = attribute(net, "integrated_gradients", torch.cat([easy, hard]), tol=1e-9).gradients
    assert alone > 45
    assert both == alone + 20 * 15


def test_above_the_limit_of_pieces_quadrature_follows(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.ReLU(), 5, 24, 24, 2), 3 * nets.rows(6, 5)
    truth = attribute(net, "integrated_gradients", x, target=0, exact=True).values
    found = attribute(net, "integrated_gradients", x, target=0, pieces=3, tol=1e-4)
    assert found.error_kind == "quadrature change"
    assert any("more than 3 pieces" in note for note in found.notes)
    assert bool(((found.values - truth).abs() <= found.error + 1e-12).all())
    with pytest.raises(UserError, match="pieces=3"):
        attribute(net, "integrated_gradients", x, target=0, pieces=3, exact=True)


def test_a_product_of_the_input_with_itself_is_not_called_linear() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x) * x

    x = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
    with pytest.raises(UserError, match="not piecewise linear"):
        attribute(Square(), "integrated_gradients", x, exact=True)
    found = attribute(Square(), "integrated_gradients", x)
    torch.testing.assert_close(found.values, torch.tensor([[4.0], [0.0]], dtype=torch.float64))


@pytest.mark.parametrize(("memory", "count"), [(0.05, 40), (1.0, 40), (32.0, 300)])
def test_the_memory_limit_changes_nothing(nets: SimpleNamespace, memory: float, count: int) -> None:
    net, x = nets.chain(nn.ReLU(), 6, 20, 20, 2), nets.rows(count, 6)
    each = torch.arange(count) % 2  # a row's own target
    for options, target in (({}, 0), ({"steps": 30}, 0), ({"exact": False, "tol": 1e-4}, each)):
        small = attribute(net, "integrated_gradients", x, target=target, memory=memory, **options)
        large = attribute(net, "integrated_gradients", x, target=target, memory=256.0, **options)
        torch.testing.assert_close(small.values, large.values, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_unit_of_the_output_changes_nothing_else(nets: SimpleNamespace, unit: float) -> None:
    net, x = nets.chain(nn.Tanh(), 4, 16, 1), 5 * nets.rows(6, 4)
    scaled = nets.chain(nn.Tanh(), 4, 16, 1)
    with torch.no_grad():
        scaled[-1].weight.mul_(unit)
        scaled[-1].bias.mul_(unit)
    own, other = (attribute(each, "integrated_gradients", x, target=0, tol=1e-8) for each in (net, scaled))
    torch.testing.assert_close(other.values / unit, own.values, rtol=1e-12, atol=1e-14)
    assert other.gradients == own.gradients
    assert other.converged


def test_baselines_of_every_kind(nets: SimpleNamespace) -> None:
    net, x, reference = nets.chain(nn.ReLU(), 3, 8, 2), nets.rows(5, 3), 1 + nets.rows(9, 3, seed=7)
    labels = torch.arange(9) % 2
    means = {
        "zeros": torch.zeros(3, dtype=torch.float64),
        "mean": reference.mean(0),
        "row.4": reference[4],
        "class.1": reference[1::2].mean(0),
    }
    kwargs = {"target": 1, "reference": reference, "reference_labels": labels}
    for name, point in means.items():
        named = attribute(net, "integrated_gradients", x, baseline=name, **kwargs)
        given = attribute(net, "integrated_gradients", x, baseline=point, target=1)
        torch.testing.assert_close(named.values, given.values)
    each = [attribute(net, "integrated_gradients", x, baseline=row, target=1).values for row in reference]
    whole = attribute(net, "integrated_gradients", x, baseline="training", **kwargs)
    torch.testing.assert_close(whole.values, torch.stack(each).mean(0))
    own = attribute(net, "integrated_gradients", x, baseline=x.flip(0), target=1)
    for k in range(5):
        alone = attribute(net, "integrated_gradients", x[k : k + 1], baseline=x.flip(0)[k], target=1)
        torch.testing.assert_close(own.values[k : k + 1], alone.values)


def test_expected_gradients_are_the_mean_over_baselines(nets: SimpleNamespace) -> None:
    net, x, reference = nets.chain(nn.ReLU(), 3, 8, 2), nets.rows(30, 3), nets.rows(9, 3, seed=7)
    truth = attribute(net, "integrated_gradients", x, baseline="training", reference=reference, target=0)
    found = attribute(net, "expected_gradients", x, reference=reference, target=0, samples=400)
    ratio = (found.values - truth.values) / found.error
    assert float(ratio.abs().max()) < 5
    assert 0.01 < float(ratio.square().mean().sqrt()) < 1
    torch.testing.assert_close(found.reference_score, truth.reference_score)
    again = attribute(net, "expected_gradients", x, reference=reference, target=0, samples=400)
    other = attribute(net, "expected_gradients", x, reference=reference, target=0, samples=400, seed=1)
    assert torch.equal(found.values, again.values)
    assert not torch.equal(found.values, other.values)


def test_a_chain_and_autograd_agree(nets: SimpleNamespace) -> None:
    class Wrapped(nn.Module):  # an addition of 0·y² makes it no chain
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            y = self.net(x)
            return y + 0 * y * y

    x = nets.rows(6, 5)
    for activation, method in itertools.product(
        (nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.2), nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Hardtanh()),
        (
            "gradient",
            "gradient_x_input",
            "integrated_gradients",
            "smoothgrad",
            "expected_gradients",
            "ablation",
            "shapley",
        ),
    ):
        net = nets.chain(activation, 5, 8, 8, 3)
        options = {"steps": 7} if method == "integrated_gradients" else {"samples": 6} if "s" in method[:1] else {}
        for _ in range(2):  # the second time the chain is one met before
            a = attribute(net, method, x, target=1, reference=x, **options).values
        b = attribute(Wrapped(net), method, x, target=1, reference=x, **options).values
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_a_step_between_the_nodes_is_found() -> None:
    """It rises along 1/1000 of the path only: the change of t from end to end tells that something is missed."""

    class Step(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (torch.sin(x[:, 0]) + 40 * torch.clamp(x[:, 0] - 0.37, 0, 0.001) + x[:, 1] ** 2)[:, None]

    x = torch.tensor([[1.0, 0.7]], dtype=torch.float64)
    found = attribute(Step(), "integrated_gradients", x, target=0, baseline="zeros", tol=1e-8, exact=False)
    truth = torch.tensor([[torch.tensor(1.0).double().sin() + 0.04, 0.49]], dtype=torch.float64)
    assert found.error is not None
    torch.testing.assert_close(found.values, truth, rtol=0, atol=2e-8)
    assert bool(((found.values - truth).abs() <= found.error + 1e-15).all())


def test_tanh_and_relu_together_keep_the_tolerance() -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 1)).double()
        for p in net.parameters():
            p.data *= 2
        x = torch.randn(40, 8, dtype=torch.float64)
        found = attribute(net, "integrated_gradients", x, target=0, baseline="zeros", tol=1e-8)
        assert found.gap is not None
        assert bool((found.gap.abs() <= 8 * 2e-8 * found.values.abs().amax(1)).all())


def test_the_error_of_a_quadrature_is_what_its_two_rules_differ_by(nets: SimpleNamespace) -> None:
    """One panel: Kronrod's 15 nodes less Gauss's 7, each from NumPy's own gradient of f = exp(w·x)."""
    from scipy.integrate import quad_vec

    class Exp(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.exp(x @ torch.tensor([[2.0], [-1.0]], dtype=x.dtype))

    x, x0 = nets.rows(3, 2), nets.rows(1, 2, seed=9)
    found = attribute(Exp(), "integrated_gradients", x, baseline=x0, tol=1e-3, exact=False)
    w = np.array([2.0, -1.0])
    for row, value, error in zip(x.numpy(), found.values.numpy(), found.error.numpy(), strict=True):
        step = row - x0[0].numpy()
        slope = lambda α, step=step: step * w * np.exp((x0[0].numpy() + α * step) @ w)  # noqa: E731
        truth = quad_vec(slope, 0, 1, epsabs=1e-14)[0]
        nodes, weights = np.polynomial.legendre.leggauss(7)
        coarse = sum(b / 2 * slope((a + 1) / 2) for a, b in zip(nodes, weights, strict=True))
        np.testing.assert_allclose(value, truth, rtol=1e-13)
        np.testing.assert_allclose(error, np.abs(coarse - truth), rtol=0.01, atol=1e-15)


def test_the_rounding_of_an_exact_path_is_stated_from_both_sides(nets: SimpleNamespace) -> None:
    """In float32: what a row misses of completeness and an ulp of its pieces, no more than 300 times what it is off."""
    net, x = nets.chain(nn.ReLU(), 8, 32, 32, 3), nets.rows(50, 8)
    truth = attribute(net, "integrated_gradients", x, target=2, exact=True).values
    found = attribute(net.float(), "integrated_gradients", x.float(), target=2, exact=True)
    off = (found.values.double() - truth).abs()
    assert float((found.error / off).median()) < 300
