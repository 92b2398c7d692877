"""What a product costs: graphs that are kept within the memory, columns that go through together, quick activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.core import Data
from calclab.errors import UserError
from calclab.numerics.chunks import PASS, PIECES, plan
from calclab.second_order import choose, curvature, curves_only_through_the_loss
from calclab.second_order.kernels import QuickTwice
from calclab.second_order.operators import Product
from calclab.subject.network import Network, network


def made(module: Any, *, width: int = 5, rows: int = 8) -> Network:
    inputs = torch.randn(rows, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = tuple(f"x{i}" for i in range(width))
    return network(
        module, Data("rows", inputs, torch.arange(rows) % 3, names, ("a", "b", "c"), True), name="net", seed=1
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


@pytest.mark.parametrize("rows", [None, 10, 64])
@pytest.mark.parametrize("fixed", [0.0, 700.0])
@pytest.mark.parametrize("memory", [2e3, 1e4, 3e4, 1e5, 1e6])
def test_a_plan_fills_its_memory_and_does_not_exceed_it(rows: int | None, fixed: float, memory: float) -> None:
    """64 rows of 100 bytes each: the graphs that are kept, and what passes through one, for each lane, fit; one graph
    or one lane more would not."""
    found = plan((fixed, 100.0), 64, rows, memory)
    windows = found.windows
    assert [windows[0].start, windows[-1].stop] == [0, 64]
    assert all(a.stop == b.start for a, b in pairwise(windows))
    longest = max(w.stop - w.start for w in windows)
    assert found.bytes == int(fixed + 100 * longest)
    assert rows is None or longest <= rows
    if rows is not None and fixed + 100 * min(rows, 64) <= memory / PIECES:
        assert longest == min(rows, 64)
    if rows is None and len(windows) > 1:
        assert longest == 1 or fixed + 100 * longest <= memory / PIECES
        assert longest == 64 or fixed + 6400 > memory / 2
        assert longest - min(w.stop - w.start for w in windows) <= 1
    room = memory // found.bytes
    if found.kept < len(windows):
        assert found.kept == max(0, room - 1)
    assert found.kept >= 1 or 2 * found.bytes > memory
    assert found.lanes == max(1, room - found.kept)
    assert found.both == ((2 * found.kept + 1) * found.bytes <= memory)  # for one column, for many, and what passes


def test_no_chunk_is_larger_than_the_caches_make_worth_it() -> None:
    found = plan((0.0, PASS / 10), 64, None, 1e12)
    assert max(w.stop - w.start for w in found.windows) == 10
    assert len(plan((0.0, PASS / 10), 64, None, 1e12, whole=True).windows) == 1


@pytest.mark.parametrize(("columns", "lanes", "passes"), [(8, 4, 2), (8, 8, 1), (5, 4, 2), (3, 1, 3), (1, 4, 1)])
def test_columns_share_passes(columns: int, lanes: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    each = Product.each

    def counted(self: Product, many: bool) -> Iterator[Any]:
        for apply in each(self, many):

            def told(*given: Any, apply: Any = apply) -> Any:
                seen["passes"] += 1
                return apply(*given)

            yield told

    monkeypatch.setattr(Product, "each", counted)

    class Plain(nn.Module):  # no chain that is written by hand
        def __init__(self) -> None:
            super().__init__()
            self.first, self.output = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.tanh(self.first(x))
            return self.output(y + y * y)

    A = curvature(made(Plain), lanes=lanes)
    V = torch.randn(A.shape[1], columns, dtype=torch.float64)
    assert bool((A @ V).isfinite().all())
    assert seen["passes"] == passes


@pytest.mark.parametrize("activation", [functional.gelu, functional.silu, functional.elu, functional.softplus])
def test_activations_are_followed_by_their_own_derivatives_unless_in_place(activation) -> None:
    z = torch.randn(4, dtype=torch.float64, requires_grad=True)
    with QuickTwice():
        y = activation(z)
    assert type(y.grad_fn).__name__ == "BentBackward"
    with QuickTwice():
        other = activation(z.detach())
    assert other.grad_fn is None
    if activation in (functional.silu, functional.elu):
        x = z.clone()
        with QuickTwice():
            y = activation(x, inplace=True)
        assert y is x
        torch.testing.assert_close(y, activation(z))


def test_batch_statistics_curve() -> None:
    """Of a batch's own mean and variance the output is no linear function of the weights before."""
    kept = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    own = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.ReLU(), nn.Linear(4, 3))
    assert curves_only_through_the_loss(made(kept))
    assert not curves_only_through_the_loss(made(own))


@pytest.mark.parametrize("depth", [3, 8, 9, 12])
def test_a_pattern_without_a_layer_is_told_the_first_eight(depth: int) -> None:
    net = made(nn.Sequential(*(nn.Linear(5, 5) for _ in range(depth - 1)), nn.Linear(5, 3)))
    rest = f" and {depth - 8} more" if depth > 8 else ""
    with pytest.raises(UserError) as error:
        choose(net, ["none*"])
    assert str(error.value).endswith(f"The layers are {', '.join(str(i) for i in range(min(8, depth)))}{rest}")
