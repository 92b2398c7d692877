"""Gradients, removal, Shapley values, permutation: closed forms and other ways to the same numbers."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from calclab.attribution import attribute
from calclab.errors import UserError

W = torch.tensor([[1.0, -2.0, 0.5], [0.3, 4.0, -1.0]], dtype=torch.float64)


def linear() -> nn.Linear:
    net = nn.Linear(3, 2).double()
    with torch.no_grad():
        net.weight.copy_(W)
    return net


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("integrated_gradients", {}),
        ("integrated_gradients", {"steps": 1}),
        ("integrated_gradients", {"exact": False}),
        ("ablation", {}),
        ("shapley", {"samples": 3}),
        ("occlusion", {"window": 1}),
    ],
)
def test_on_a_linear_network_all_are_slope_times_change(
    nets: SimpleNamespace, method: str, options: dict[str, object]
) -> None:
    x, x0 = nets.rows(6, 3), torch.tensor([0.5, -0.2, 2.0], dtype=torch.float64)
    found = attribute(linear(), method, x, target=1, baseline=x0, **options)
    torch.testing.assert_close(found.values, W[1] * (x - x0))
    if found.gap is not None:
        assert float(found.gap.abs().max()) < 1e-13


@pytest.mark.parametrize("kind", ["chain", "Residual", "Image"])
def test_gradient_row_by_row(nets: SimpleNamespace, kind: str) -> None:
    net = nets.chain(nn.ReLU(), 5, 9, 3) if kind == "chain" else nets.made(getattr(nets, kind)())
    x = nets.rows(*((300, 5) if kind != "Image" else (4, 2, 6, 6)))  # more rows than the first look takes
    predicted = net(x).argmax(1)
    expected = []
    for row, k in zip(x[:5], predicted[:5], strict=True):
        leaf = row[None].clone().requires_grad_()
        expected.append(torch.autograd.grad(net(leaf)[0, k], leaf)[0])
    g = torch.cat(expected)
    (signed,) = attribute(net, "gradient", x, absolute=False).parts()
    torch.testing.assert_close(signed[: len(g)], g)
    torch.testing.assert_close(attribute(net, "gradient", x).parts()[0][: len(g)], g.abs())
    torch.testing.assert_close(attribute(net, "gradient_x_input", x).parts()[0][: len(g)], g * x[: len(g)])


def test_smoothgrad_of_a_square() -> None:
    class Cube(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**3).sum(1, keepdim=True)

    x = torch.tensor([[1.0, -0.5], [2.0, 0.0]], dtype=torch.float64)
    σ = 0.3
    found = attribute(Cube(), "smoothgrad", x, sigma=σ, of="signed", samples=4000)
    truth = 3 * (x**2 + σ**2)  # E (x + σε)² = x² + σ²
    assert float(((found.values - truth) / found.error).abs().max()) < 4.5
    spread = torch.full_like(x, (18 * σ**4 / 2000) ** 0.5)  # half 3(x + σε)² + 3(x - σε)² is 3x² + 3σ²ε²
    torch.testing.assert_close(found.error, spread, rtol=0.15, atol=0)
    squared = attribute(Cube(), "smoothgrad", x, sigma=0.0, of="squared", samples=3).values
    torch.testing.assert_close(squared, (3 * x**2) ** 2)


def test_noise_is_relative_to_the_range_of_the_reference(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.Tanh(), 2, 6, 1), nets.rows(4, 2)
    reference = torch.tensor([[0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
    a = attribute(net, "smoothgrad", x, reference=reference, noise=0.1).values
    b = attribute(net, "smoothgrad", x, sigma=0.2).values
    torch.testing.assert_close(a, b)


def test_ablation_one_by_one(nets: SimpleNamespace) -> None:
    for net, shape in ((nets.chain(nn.ReLU(), 5, 9, 9, 3), (7, 5)), (nets.made(nets.Residual()), (7, 5))):
        x, x0 = nets.rows(*shape), nets.rows(1, *shape[1:], seed=3)
        found = attribute(net, "ablation", x, target=2, baseline=x0, memory=0.05)
        with torch.no_grad():
            for j in range(5):
                less = x.clone()
                less[:, j] = x0[0, j]
                torch.testing.assert_close(found.values[:, j], (net(x) - net(less))[:, 2])
            both = x.clone()
            both[:, [1, 4]] = x0[0, [1, 4]]
        groups = torch.tensor([0, 1, 2, 3, 1])
        grouped = attribute(net, "ablation", x, target=2, baseline=x0, groups=groups).values
        torch.testing.assert_close(grouped[:, 1] + grouped[:, 4], (net(x) - net(both))[:, 2].detach())
        torch.testing.assert_close(grouped[:, 1], grouped[:, 4])


def test_occlusion_of_an_image(nets: SimpleNamespace) -> None:
    net, x = nets.made(nets.Image()), nets.rows(3, 2, 6, 6)
    (found,) = attribute(net, "occlusion", x, target=0, window=(3, 2), stride=(3, 2)).parts()
    less = x.clone()
    less[:, :, 3:6, 2:4] = 0
    change = (net(x) - net(less))[:, 0].detach()
    torch.testing.assert_close(found[:, :, 3:6, 2:4], change.view(3, 1, 1, 1).expand(3, 2, 3, 2))
    (over,) = attribute(
        net, "occlusion", x, target=0, window=4, stride=2
    ).parts()  # a pixel has the mean of its windows
    torch.testing.assert_close(
        over[:, 0, 2, 2], torch.stack([over[:, 0, i, j] for i in (0, 5) for j in (0, 5)]).mean(0)
    )
    with pytest.raises(UserError, match="window"):
        attribute(net, "occlusion", x, target=0, window=(9, 9))


@pytest.mark.parametrize("kind", ["chain", "Residual"])
def test_shapley_against_all_permutations(nets: SimpleNamespace, kind: str) -> None:
    net = nets.chain(nn.ReLU(), 4, 12, 12, 2) if kind == "chain" else nets.made(nets.Residual())
    d = 4 if kind == "chain" else 5
    x, x0 = 2 * nets.rows(6, d), nets.rows(1, d, seed=5)
    total = torch.zeros_like(x)
    orders = list(itertools.permutations(range(d)))
    with torch.no_grad():
        for order in orders:
            point = x0.expand_as(x).clone()
            before = net(point)[:, 1]
            for j in order:
                point[:, j] = x[:, j]
                after = net(point)[:, 1]
                total[:, j] += after - before
                before = after
    truth = total / len(orders)
    found = attribute(net, "shapley", x, target=1, baseline=x0, samples=600)
    assert float((found.values - truth).abs().max()) > 0  # sampled, not enumerated
    ratio = (found.values - truth).abs() / (found.error + 1e-13)
    assert float(ratio.max()) < 5
    assert float(found.gap.abs().max()) < 1e-13
    few = attribute(net, "shapley", x, target=1, baseline=x0, samples=7)
    assert float(few.gap.abs().max()) < 1e-13
    assert few.error_kind == "standard error over 4 pairs of permutations"
    one = attribute(net, "shapley", x, target=1, baseline=x0, samples=4, groups=[0] * d)
    torch.testing.assert_close(one.values.sum(1), found.score - found.reference_score)


def test_permutation_importance() -> None:
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 2] = 5.0
    net = nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, 1.0, 7.0]]))
        y = net(x)
    found = attribute(net, "permutation", x, labels=y, repeats=60)
    assert found.values.shape == (1, 3)
    # of independent features, r² falls by 2 w² var(x_j) / var(y) on average
    slopes = torch.tensor([4.0, 1.0], dtype=torch.float64)
    expected = 2 * slopes * x[:, :2].var(0, correction=0) / y.var(correction=0)
    assert float(((found.values[0, :2] - expected) / found.error[0, :2]).abs().max()) < 4
    assert float(found.values[0, 2]) == float(found.error[0, 2]) == 0
    assert any("constant" in note for note in found.notes)
    own = attribute(
        net,
        "permutation",
        x,
        labels=y,
        repeats=60,
        score=lambda o, t: 1 - (o - t).square().sum() / (t - t.mean()).square().sum(),
    )
    torch.testing.assert_close(own.values, found.values)
    pair = attribute(net, "permutation", x, labels=y, repeats=10, groups=[0, 0, 1]).values
    assert float(pair[0, 0] + pair[0, 1]) > float(found.values[0, 0])
    small = attribute(net, "permutation", x, labels=y, repeats=60, memory=0.02)
    assert small.values.shape == (1, 3)


def test_accuracy_falls_to_chance() -> None:
    x = torch.randn(600, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = nn.Linear(2, 2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        net.bias.zero_()
    labels = (x[:, 0] < 0).long()
    found = attribute(net, "permutation", x, labels=labels)
    assert float(found.values[0, 0]) == pytest.approx(0.5, abs=0.02)
    assert float(found.values[0, 1]) == 0


def by_hand(net: nn.Module, x: Tensor, score, columns: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and spread of the fall of a score over all orders of the rows, which so few rows have."""
    with torch.no_grad():
        before = score(net(x))
        orders = list(itertools.permutations(range(len(x))))
        falls = []
        for order in orders:
            other = x.clone()
            other[:, columns] = x[list(order)][:, columns]
            falls.append(before - score(net(other)))
    found = torch.stack(falls)
    return found.mean(0), found.std(0, correction=0)


@pytest.mark.parametrize("kind", ["chain", "whole"])
@pytest.mark.parametrize("score", ["r2", "accuracy", "sign", "loss", "own"])
def test_permutation_importance_of_several_outputs_is_the_mean_over_all_orders(
    nets: SimpleNamespace, kind: str, score: str
) -> None:
    outputs = 1 if score == "sign" else 3
    net = nets.chain(nn.Tanh(), 3, 5, outputs, seed=3)
    if kind == "whole":  # the same, as no chain is written
        net = nn.Sequential(nn.Identity(), nn.Sequential(*net), nn.Softshrink(0.0)).double()
    x = nets.rows(5, 3)
    numbers = net(x).detach() + 0.3 * nets.rows(5, outputs, seed=7)
    classes = torch.tensor([0, 2, 1, 1, 0]) if outputs > 1 else torch.tensor([0, 1, 1, 0, 1])
    y = classes if score in ("accuracy", "sign") else numbers
    squares = lambda o, t: (o - t).square().sum(1)  # noqa: E731
    scores = {
        "r2": lambda o: 1 - (o - y).square().sum() / (y - y.mean(0)).square().sum(),
        "accuracy": lambda o: (o.argmax(1) == y).double().mean(),
        "sign": lambda o: ((o[:, 0] > 0) == (y == 1)).double().mean(),
        "loss": lambda o: -squares(o, y).mean(),
        "own": lambda o: -(o - y).abs().max(),
    }
    given = {"loss": "loss", "own": lambda o, t: -(o - t).abs().max()}.get(score)
    found = attribute(net, "permutation", x, labels=y, repeats=400, score=given, loss=squares)
    truth, spread = (
        torch.stack(part) for part in zip(*(by_hand(net, x, scores[score], [j]) for j in range(3)), strict=True)
    )
    assert float(((found.values[0] - truth) / (found.error[0] + 1e-12)).abs().max()) < 4
    torch.testing.assert_close(found.error[0], spread / 400**0.5, rtol=0.2, atol=1e-12)
    pair = attribute(net, "permutation", x, labels=y, repeats=400, score=given, loss=squares, groups=[0, 1, 0])
    both, spread_of_both = by_hand(net, x, scores[score], [0, 2])
    assert float(pair.values[0, 0] + pair.values[0, 2]) == pytest.approx(
        float(both), abs=4 * float(spread_of_both) / 20 + 1e-12
    )


def test_the_error_of_shapley_values_is_the_spread_of_its_pairs(nets: SimpleNamespace) -> None:
    """Of four features there are twelve pairs of an order and its reverse: their spread over √pairs is the error."""
    net = nets.chain(nn.ReLU(), 4, 12, 12, 2)
    x, x0 = 2 * nets.rows(6, 4), nets.rows(1, 4, seed=5)
    added = []
    with torch.no_grad():
        for order in itertools.permutations(range(4)):
            point, before, found = x0.expand_as(x).clone(), net(x0.expand_as(x))[:, 1], torch.zeros_like(x)
            for j in order:
                point[:, j] = x[:, j]
                after = net(point)[:, 1]
                found[:, j], before = after - before, after
            added.append((order, found))
    reverse = dict(added)
    pairs = torch.stack([(found + reverse[order[::-1]]) / 2 for order, found in added])
    found = attribute(net, "shapley", x, target=1, baseline=x0, samples=1000)
    torch.testing.assert_close(found.error, pairs.std(0, correction=0) / 500**0.5, rtol=0.15, atol=1e-12)
    assert float(((found.values - pairs.mean(0)) / (found.error + 1e-12)).abs().max()) < 4.5


def test_the_error_of_expected_gradients_is_the_spread_of_its_samples(nets: SimpleNamespace) -> None:
    """(x - x₀) f'(x₀ + α (x - x₀)) over x₀ and α, squared and summed on a fine grid of both."""

    class Cubes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**3).sum(1, keepdim=True)

    x, reference = nets.rows(4, 3), nets.rows(7, 3, seed=3)
    α = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    step = x[:, None] - reference  # (4, 7, 3)
    seen = step[:, :, None] * 3 * (reference[None, :, None] + α[:, None] * step[:, :, None]) ** 2
    spread = seen.flatten(1, 2).std(1, correction=0)
    found = attribute(Cubes(), "expected_gradients", x, reference=reference, samples=700)
    torch.testing.assert_close(found.error, spread / 700**0.5, rtol=0.1, atol=0)
    assert bool(((found.values - seen.flatten(1, 2).mean(1)).abs() <= 2 * found.error).all())


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "ablation", "shapley", "smoothgrad"])
def test_a_chain_may_end_in_an_activation(nets: SimpleNamespace, method: str) -> None:
    """The same network with a last layer that changes nothing."""
    torch.manual_seed(2)
    short = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2), nn.Tanh()).double()
    identity = nn.Linear(2, 2).double()
    with torch.no_grad():
        identity.weight.copy_(torch.eye(2))
        identity.bias.zero_()
    x, options = nets.rows(6, 3), {"samples": 8} if method in ("shapley", "smoothgrad") else {}
    for target in (1, "y0 - 2*y1", "y0*y1"):
        own = attribute(short, method, x, target=target, **options)
        longer = attribute(nn.Sequential(*short, identity), method, x, target=target, **options)
        torch.testing.assert_close(own.values, longer.values, rtol=1e-6, atol=1e-9)


def test_what_permutation_and_occlusion_cannot_do(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.ReLU(), 3, 4, 2), nets.rows(5, 3)
    for rows, repeats in ((x, 1), (x[:1], 30), (x[:1], 1)):
        with pytest.raises(UserError, match=f"repeats={repeats} on {len(rows)} rows: 2 or more of both"):
            attribute(net, "permutation", rows, labels=torch.zeros(len(rows)).long(), repeats=repeats)
    assert attribute(net, "permutation", x[:2], labels=torch.tensor([0, 1]), repeats=2).values.shape == (1, 3)
    with pytest.raises(UserError, match="one input is needed, and a window over its last axes"):
        attribute(nets.made(nets.Two()), "occlusion", (nets.rows(6, 3), nets.rows(6, 2)), output="sum", window=1)
    for window, stride in (((2, 2), None), ((), None), (2, (1, 1)), (0, None), (4, None), (2, 0)):
        with pytest.raises(UserError, match="window="):
            attribute(net, "occlusion", x, window=window, stride=stride)
    assert attribute(net, "occlusion", x, window=3, stride=1).values.shape == x.shape


class Quotient(nn.Module):
    """ReLUs over a number, or over what moves with the input."""

    def __init__(self, moving: bool) -> None:
        super().__init__()
        self.a, self.b, self.moving = nn.Linear(3, 4), nn.Linear(3, 4), moving

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.a(x)) / (1 + torch.relu(self.b(x)) if self.moving else 3.0)


def test_a_quotient_bends_by_what_it_is_divided_by(nets: SimpleNamespace) -> None:
    x = nets.rows(5, 3)
    found = attribute(nets.made(Quotient(False)), "integrated_gradients", x, target=1, exact=True)
    assert found.error_kind == "rounding"
    with pytest.raises(UserError, match="not piecewise linear"):
        attribute(nets.made(Quotient(True)), "integrated_gradients", x, target=1, exact=True)


@pytest.mark.parametrize("method", ["shapley", "integrated_gradients", "expected_gradients"])
def test_over_many_baselines_the_reference_is_the_mean_of_their_scores(nets: SimpleNamespace, method: str) -> None:
    net, x, reference = nets.chain(nn.Tanh(), 4, 8, 2), nets.rows(5, 4), nets.rows(7, 4, seed=3)
    options = {"baseline": "training"} if method != "expected_gradients" else {"samples": 50}
    found = attribute(net, method, x, target=1, reference=reference, **options)
    with torch.no_grad():
        start = net(reference)[:, 1].mean()
        torch.testing.assert_close(found.reference_score, start.expand(5))
        torch.testing.assert_close(found.gap, found.values.sum(1) - (net(x)[:, 1] - start))
    assert method == "expected_gradients" or float(found.gap.abs().max()) < 1e-5
