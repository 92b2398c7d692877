"""Structure that is known beforehand: sparse formulas, and networks of convolutions that branch and meet again."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import jacrev

from calclab.errors import UserError
from calclab.numerics.jacobian import compressed, jacobians, of_function, of_module, pattern, plan, traced
from calclab.subject.formula import formula

torch.set_num_threads(1)


def broyden(n: int) -> list[str]:
    """Broyden's tridiagonal function (Moré, Garbow and Hillstrom 1981, no. 30)."""
    before = ["0", *(f"x{i}" for i in range(n - 1))]
    after = [*(f"x{i}" for i in range(1, n)), "0"]
    return [f"(3 - 2*x{i})*x{i} - {a} - 2*{b} + 1" for i, (a, b) in enumerate(zip(before, after, strict=True))]


def start(n: int) -> list[float]:
    return [-1 + 0.3 * (i % 7) for i in range(n)]


def dense(function) -> Tensor:
    return jacrev(function.call)(function.start)


@pytest.mark.parametrize("n", [40, 200])
def test_a_tridiagonal_system_needs_three_products_whatever_its_size(n: int) -> None:
    function = formula(name="broyden", expr=broyden(n), at=start(n))
    f = of_function(function)
    made = plan(f)
    assert made.way == "coloured"
    assert f.structure is not None
    assert f.structure.colours == 3
    assert "3 products" in made.why
    J = jacobians(f, f.start[None], made)[0]
    assert torch.equal(J, dense(function))
    x = f.start
    diagonals = [torch.diagonal(J, k) for k in (-1, 0, 1)]
    torch.testing.assert_close(diagonals[1], 3 - 4 * x)
    assert torch.equal(diagonals[0], torch.full_like(diagonals[0], -1))
    assert torch.equal(diagonals[2], torch.full_like(diagonals[2], -2))
    assert compressed(f, x).entries == 3 * n - 2


def test_a_full_row_is_compressed_by_rows_and_a_full_column_by_columns() -> None:
    n = 60
    row = [" + ".join(f"x{j}**2" for j in range(n)), *(f"sin(x{i})" for i in range(1, n))]
    column = [f"x0**2*x{i}" for i in range(n)]
    for texts, by_columns in ((row, False), (column, True)):
        function = formula(name="arrow", expr=texts, at=start(n))
        f = of_function(function)
        assert f.structure is not None
        assert f.structure.by_columns == by_columns
        assert f.structure.colours <= 3
        J = jacobians(f, f.start[None], plan(f, way="coloured"))[0]
        torch.testing.assert_close(J, dense(function), rtol=1e-14, atol=1e-14)


def test_both_sides_of_a_branch_count() -> None:
    texts = [f"where(x{i} > 0, x{i}**2, x{(i + 1) % 50})" for i in range(50)]
    function = formula(name="branches", expr=texts, at=[(-1.0) ** i for i in range(50)])
    f = of_function(function)
    for x in (f.start, -f.start):
        J = jacobians(f, x[None], plan(f, way="coloured"))[0]
        assert torch.equal(J, jacrev(function.call)(x))


def test_dense_formulas_have_no_structure_and_say_so() -> None:
    f = of_function(formula(name="f", expr=["x**2*y", "x*y"], at=[1, 2]))
    assert f.structure is None
    with pytest.raises(UserError, match=r"way=coloured.*few variables.*straight"):
        plan(f, way="coloured")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sets(st.integers(0, 29), max_size=4), min_size=8, max_size=40))
def test_no_two_of_a_colour_meet(rows: list[set[int]]) -> None:
    found = pattern([sorted(row) for row in rows], 30)
    if found is None:
        return
    columns = [[i for i, row in enumerate(rows) if j in row] for j in range(30)]
    for clique in rows if found.by_columns else columns:
        colours = [found.colour[k] for k in clique]
        assert len(set(colours)) == len(colours)
    J = torch.zeros(len(rows), 30, dtype=torch.float64)
    for i, row in enumerate(rows):
        J[i, sorted(row)] = torch.rand(len(row), dtype=torch.float64) + 1
    seeds, places = found.seeds(J), found.places(J.device)
    values = (J @ seeds.T) if found.by_columns else (J.T @ seeds.T)
    back = torch.zeros_like(J if found.by_columns else J.T)
    for k, c in itertools.product(range(len(places)), range(found.colours)):
        if places[k, c] >= 0:
            back[k, places[k, c]] = values[k, c]
    assert torch.equal(back if found.by_columns else back.T, J)


class Branches(nn.Module):
    """Two paths of convolutions of unequal reach, normalised, shifted, scaled and added; a residual block; a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.short = nn.BatchNorm2d(3), nn.Conv2d(2, 3, 1)
        self.deep, self.pool = nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x) + 0.3)
        y = torch.relu(0.5 * self.norm(self.second(y)) + self.short(x))
        y = y - 2 * nn.functional.silu(self.deep(y)) / 3
        return self.pool(y).flatten(1)


class Strided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.long, self.short = nn.Conv1d(1, 2, 5, stride=2, padding=2), nn.Conv1d(1, 2, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return 1 - (torch.sigmoid(self.long(x)) + self.short(x))


@pytest.mark.parametrize(("module", "shape"), [(Branches, (2, 20, 18)), (Strided, (1, 60))])
def test_branches_that_meet_are_coloured(module, shape) -> None:
    torch.manual_seed(1)
    net = module().double().eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    x = torch.randn(shape, dtype=torch.float64)
    f = of_module(net, x)
    assert f.layers is None
    made = plan(f)
    assert made.way == "coloured"
    truth = jacrev(f.call)(x.reshape(-1)).detach()
    torch.testing.assert_close(jacobians(f, x.reshape(1, -1), made)[0], truth, rtol=1e-12, atol=1e-14)
    assert int((truth != 0).sum()) <= compressed(f, x.reshape(-1)).entries < truth.numel() / 2


class Unequal(nn.Module):
    """Adds a pixel's value to that of another scale: no window is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.every, self.whole = nn.Conv1d(1, 1, 1, stride=2), nn.Conv1d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.every(x) + self.whole(x)[:, :, :30]


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.detach().sum()) > 0 else self.layer(-x)


def test_what_cannot_be_followed_is_not_coloured() -> None:
    x = torch.randn(1, 60)
    f = of_module(Unequal(), x)
    assert f.structure is None
    torch.testing.assert_close(jacobians(f, x, plan(f))[0], jacrev(f.call)(x[0]).detach())
    assert traced(Looking(), x) is None


def test_networks_that_mix_everything_have_no_structure() -> None:
    mixing = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(16, 20))
    assert of_module(mixing, torch.randn(1, 10)).structure is None


@pytest.mark.parametrize("memory", [2.0**28, 30_000.0])
def test_many_points_of_a_sparse_formula_go_together(memory: float) -> None:
    function = formula(name="broyden", expr=broyden(30), at=start(30))
    f = of_function(function)
    x = f.start + torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    made = plan(f, 7, memory=memory, kept=True)
    assert made.way == "coloured"
    J = jacobians(f, x, made)
    assert torch.equal(J, torch.stack([jacrev(function.call)(point) for point in x]))
