"""Every way to a Jacobian that a map allows gives what torch.func does, with much memory and with little."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from calclab.errors import UserError
from calclab.numerics.jacobian import (
    Map,
    chain,
    compressed,
    jacobians,
    modes,
    of_function,
    of_module,
    plan,
    products,
    sequence,
    window,
)
from calclab.numerics.jacobian.planner import possible
from calclab.subject.formula import formula

torch.set_num_threads(1)
POINTS = 5


class Own(nn.Module):
    """A residual block: no plain sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x + torch.tanh(self.inner(x)))


class InPlace(nn.Module):
    """Writes into what a layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).mul_(2.0))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.layer(x)


CASES = {
    "linear": (lambda: nn.Linear(3, 2), (3,), "chain"),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6, bias=False), nn.GELU(), nn.Linear(6, 9)),
        (5,),
        "chain",
    ),
    "bottleneck": (
        lambda: nn.Sequential(nn.Sigmoid(), nn.Linear(6, 2), nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 8), nn.SiLU()),
        (6,),
        "chain",
    ),
    "activation": (lambda: nn.Softplus(), (4,), "chain"),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.ELU()), (3, 4), "chain"),
    "normalised": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 2)),
        (5,),
        "chain",
    ),
    "layer norm": (lambda: nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 2)), (5,), "reverse"),
    "residual": (Own, (5,), "reverse"),
    "in place": (InPlace, (5,), "reverse"),
    "scaled": (Scaled, (5,), "reverse"),
    "convolution": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 9, 7), "coloured"),
    "dilated": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, stride=2, dilation=2), nn.ReLU(), nn.AvgPool2d(2), nn.BatchNorm2d(3)
        ),
        (2, 17, 15),
        "coloured",
    ),
    "pooled": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 2, (3, 2), padding=(0, 1)), nn.SiLU(), nn.MaxPool2d(2, ceil_mode=True)),
            *(nn.Conv2d(2, 2, 1), nn.Flatten()),
        ),
        (1, 13, 12),
        "coloured",
    ),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.Tanh(), nn.MaxPool1d(3), nn.Conv1d(4, 1, 2, stride=2)),
        (2, 40),
        "coloured",
    ),
    "by rows": (lambda: nn.Conv2d(4, 1, 3, stride=3), (4, 9, 9), "coloured"),
    "grouped": (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 9, 9), "coloured"),
    "circular": (lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), (1, 6, 6), "forward"),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 9)
        ),
        (1, 8, 8),
        "reverse",
    ),
    "fan-out": (lambda: nn.Sequential(nn.Linear(2, 9), nn.LayerNorm(9), nn.Linear(9, 30)), (2,), "reverse"),
}


@pytest.fixture(params=CASES)
def case(request):
    make, shape, way = CASES[request.param]
    torch.manual_seed(3)
    module = make().double().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
    x = torch.randn(POINTS, *shape, dtype=torch.float64)
    f = of_module(module, x[0])
    flat = x.reshape(POINTS, -1)
    with torch.no_grad():
        truth = torch.stack([jacrev(f.call)(point) for point in flat])
    return f, flat, truth, way


def test_every_way_with_much_memory_and_with_little(case) -> None:
    f, x, truth, way = case
    assert plan(f, POINTS).way == way
    for name in possible(f):
        if name == "matrix_free":
            continue
        for memory in (2.0**28, 20_000.0):
            J = jacobians(f, x, plan(f, POINTS, way=name, memory=memory, kept=True))
            torch.testing.assert_close(J, truth, rtol=1e-12, atol=1e-13)


def test_heavy_maps_share_graphs_instead_of_copying_points(case, monkeypatch) -> None:
    f, x, truth, _ = case
    monkeypatch.setattr(modes, "LIGHT", 0)
    for name in ("forward", "reverse"):
        made = plan(f, POINTS, way=name)
        torch.testing.assert_close(jacobians(f, x, made), truth, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(jacobians(f, x[:1], made), truth[:1], rtol=1e-12, atol=1e-13)


def test_passes_are_shared_as_memory_and_sizes_allow() -> None:
    light = of_module(nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 8)), torch.randn(5))
    assert modes.sharing(light, 1, 8, 1000).copies
    assert modes.sharing(light, 1, 3, 1000) == modes.Sharing(1, 3, older=True)
    assert modes.sharing(light, 1, 8, 3) == modes.Sharing(1, 3)  # eight rows in passes of three
    assert modes.sharing(light, 100, 1, 1000) == modes.Sharing(100, 1, older=True)
    heavy = of_module(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), torch.randn(3, 32, 32))
    one, many = (modes.sharing(heavy, points, 100, 10**6) for points in (1, 5000))
    assert one.older
    assert many.directions == 1
    assert many.points == 5000
    single = Map(light.call, light.start, 8)
    assert modes.sharing(single, 100, 8, 1000).points == 1


def test_products_are_those_of_the_matrices(case) -> None:
    f, x, truth, _ = case
    made = products(f, x)
    V, U = torch.randn(POINTS, f.inputs, dtype=x.dtype), torch.randn(POINTS, f.outputs, dtype=x.dtype)
    torch.testing.assert_close(made.push(V), (truth @ V[:, :, None])[..., 0], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(made.pull(U), (U[:, None] @ truth)[:, 0], rtol=1e-11, atol=1e-12)


def test_the_module_is_left_as_it_was(case) -> None:
    f, x, _, _ = case
    jacobians(f, x, plan(f, POINTS))
    for layer in f.layers or ():
        assert not layer.module._forward_hooks
        assert all(p.grad is None for p in layer.module.parameters())


def test_compressed_entries_are_where_they_belong() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, stride=2), nn.Tanh(), nn.MaxPool2d(2)).double()
    x = torch.randn(2, 12, 10, dtype=torch.float64)
    f = of_module(module, x)
    found, truth = compressed(f, x.reshape(-1)), jacrev(f.call)(x.reshape(-1)).detach()
    torch.testing.assert_close(found.dense().detach(), truth)
    torch.testing.assert_close(found.sparse().to_dense().detach(), truth)
    torch.testing.assert_close(found.norm().detach(), truth.norm())
    assert int((truth != 0).sum()) <= found.entries < truth.numel() / 2


def test_a_3x3_convolution_needs_27_products_and_one_pixel_sees_nine() -> None:
    f = of_module(nn.Conv2d(3, 8, 3, padding=1), torch.randn(3, 32, 32))
    seen = window(f.steps)
    assert seen is not None
    assert seen.colours == 27
    assert (
        compressed(f, f.start).entries == 8 * 3 * (3 * 32 - 2) ** 2
    )  # each axis: 32 windows of 3, less one at each end


def test_the_order_of_a_chain_is_the_cheapest() -> None:
    """A bottleneck: (W4 W3)(W2 W1) would form 500 × 500; from either end it costs little."""
    sizes = [50, 3, 50, 3, 50]
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    f = of_module(nn.Sequential(*layers), torch.randn(50))
    _, cost = chain.order(f.layers or ())
    assert cost == 3 * 50 * 3 + 50 * 3 * 3 + 50 * 3 * 50


def test_deep_linear_networks_multiply_their_weights_once() -> None:
    f = of_module(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.randn(4))
    x = torch.randn(6, 4)
    J = jacobians(f, x, plan(f, 6))
    assert torch.equal(J, J[:1].expand(6, -1, -1))


def test_until_a_layer_and_not_beyond() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
    module = nn.Sequential(inner, nn.LayerNorm(5), nn.Linear(5, 2)).double()
    x = torch.randn(4, dtype=torch.float64)
    f = of_module(module, x, until="0")
    torch.testing.assert_close(jacobians(f, x[None], plan(f))[0], jacrev(inner)(x).detach())
    assert plan(f).way == "chain"
    assert sequence(module, module, x[None], until="0.0") is not None
    with pytest.raises(ValueError, match="nowhere"):
        of_module(module, x, until="nowhere")


def test_parameters_of_plain_sequences() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)
    ).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    f = of_module(module, x[0])
    wanted = list(module.parameters())
    value, J = chain.by_parameters(f.layers or (), x, wanted, chain.order(f.layers or ())[0])
    torch.testing.assert_close(value, module(x).detach())
    names = [name for name, _ in module.named_parameters()]

    def call(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (row[None],))[0]

    for b, row in enumerate(x):
        found = jacrev(call)(dict(module.named_parameters()), row)
        truth = torch.cat([found[name].reshape(2, -1) for name in names], 1).detach()
        torch.testing.assert_close(J[b], truth)


def test_a_weight_used_twice_gets_both_parts() -> None:
    layer = nn.Linear(3, 3).double()
    module = nn.Sequential(layer, nn.Tanh(), layer)
    x = torch.randn(2, 3, dtype=torch.float64)
    f = of_module(module, x[0])
    _, J = chain.by_parameters(f.layers or (), x, [layer.weight, layer.bias], chain.order(f.layers or ())[0])
    y = module(x[1:])[0]
    rows = [torch.autograd.grad(value, [layer.weight, layer.bias], retain_graph=True) for value in y]
    torch.testing.assert_close(J[1], torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows]))


def test_formulas_go_straight_and_programs_without_vmap_alone() -> None:
    f = of_function(formula(name="f", expr=["x**2*y", "sin(x) + exp(y)"], at=[0.3, -0.7]))
    x = torch.randn(40, 2, dtype=torch.float64)
    assert plan(f, 40).way == "straight"
    straight = jacobians(f, x, plan(f, 40))
    torch.testing.assert_close(straight, jacobians(f, x, plan(f, 40, way="reverse")), rtol=1e-14, atol=1e-15)

    def branching(v: Tensor) -> Tensor:
        return v**2 if float(v.detach().sum()) > 0 else v**3

    g = Map(branching, torch.ones(3, dtype=torch.float64), 3)
    points = torch.tensor([[1.0, 2, 3], [-1, -2, -3]], dtype=torch.float64)
    J = jacobians(g, points, plan(g, 2, way="reverse"))
    torch.testing.assert_close(J, torch.stack([torch.diag(2 * points[0]), torch.diag(3 * points[1] ** 2)]))


def test_kinks_are_autograds() -> None:
    f = of_module(nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False)), torch.zeros(3))
    x = torch.tensor([[0.0, -1.0, 2.0]])
    assert torch.equal(jacobians(f, x, plan(f)), jacobians(f, x, plan(f, way="reverse")))


def test_what_does_not_fit_is_refused_or_left_unformed() -> None:
    f = of_module(nn.Linear(100, 200), torch.randn(100))
    made = plan(f, memory=1000.0)
    assert made.way == "matrix_free"
    assert not made.forms
    with pytest.raises(UserError, match=r"200 × 100 entries.*memory="):
        plan(f, way="reverse", memory=1000.0)
    with pytest.raises(UserError, match=r"way=coloured.*auto, chain, forward"):
        plan(f, way="coloured")
    assert "linear layers" in plan(f).text()
    assert plan(f, 1000).points < 1000  # in blocks that stay in the cache
