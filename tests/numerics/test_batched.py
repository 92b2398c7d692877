"""Values of functions at points that share a pass are those of the points one by one, or are not taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.core import Function, Verdict
from calclab.numerics import batched, estimate
from calclab.numerics.batched import along, one_by_one, shared
from calclab.numerics.operators import value_and_gradient


def loss(*layers: nn.Module, rows: int = 30, dtype: torch.dtype = torch.float64) -> Function:
    """The loss of a network of 4 inputs and 3 outputs as a function of its parameters."""
    maker = torch.Generator().manual_seed(1)
    inputs = torch.randn(rows, 4, generator=maker, dtype=dtype)
    targets = torch.randn(rows, 3, generator=maker, dtype=dtype)
    torch.manual_seed(0)
    subject = calclab.loss(nn.Sequential(*layers).to(dtype), nn.MSELoss(), (inputs, targets))
    return subject.objective()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("numbers", [2**20, 5000])
def test_points_together_are_those_one_by_one(
    dtype: torch.dtype, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "NUMBERS", numbers)
    f = loss(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3), dtype=dtype)
    maker = torch.Generator().manual_seed(2)
    ds = torch.randn(3, len(f.start), generator=maker, dtype=dtype)
    steps = torch.tensor([0.0, 1.0, -0.5, 1e-3, -1e-6, 0.25, 2.0], dtype=dtype)
    assert shared(f)
    x = f.start.expand_as(ds)
    together, alone = along(f, x, ds, steps), one_by_one(f, x, ds, steps)
    torch.testing.assert_close(together, alone, rtol=100 * torch.finfo(dtype).eps, atol=0)


class WrongInBatches(torch.autograd.Function):
    """x ↦ x whose rule for batches is wrong."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        return WrongInBatches.apply(x) * 1.001, in_dims[0]


def branching(x: Tensor) -> Tensor:
    return x.square().sum() if bool(x[0] > 0) else -x.sum()


@pytest.mark.parametrize(
    "call",
    [lambda x: WrongInBatches.apply(x).square().sum(), branching, lambda x: torch.tensor(x.square().sum().item())],
    ids=["wrong rule", "branch", "item"],
)
def test_what_no_pass_can_share_goes_one_by_one(call: Any) -> None:
    assert not shared(calclab.function(call, at=[1.0, -2.0]))


def test_a_large_function_goes_one_by_one() -> None:
    assert not shared(loss(nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, 3), rows=1000))


@pytest.mark.parametrize("entry", [0, 17, 40])
@pytest.mark.parametrize("factor", [1.01, -1.0, 0.0])
def test_a_wrong_gradient_is_refuted_by_points_together(entry: int, factor: float) -> None:
    f = loss(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    assert shared(f)
    g = value_and_gradient(f.call, f.start)[1]
    assert {row.verdict for row in estimate.gradient(f, f.start, g, 0)} == {Verdict.CONSISTENT}
    wrong = g.clone()
    wrong[entry] = factor * g[entry] + (1e-3 if factor == 0 else 0)
    assert Verdict.REFUTED in {row.verdict for row in estimate.gradient(f, f.start, wrong, 0)}


def test_many_points_are_checked_as_each_by_itself() -> None:
    f = loss(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x = torch.stack([f.start, -f.start, 2 * f.start])
    gs = torch.stack([value_and_gradient(f.call, point)[1] for point in x])
    gs[1, 5] *= 1.01
    rows = estimate.gradients(f, x, gs, 3, [0.0, 0.0, 0.0])
    words = [max(row.verdict.word for row in own) for own in rows]
    assert words == ["consistent", "refuted", "consistent"]
    for i, own in enumerate(rows):
        one = estimate.gradient(f, x[i], gs[i], 3)
        assert [(row.method, row.verdict) for row in one] == [(row.method, row.verdict) for row in own]
    assert estimate.gradients(f, x[:0], gs[:0], 3, []) == []
