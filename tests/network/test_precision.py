"""What a network does to derivatives by design: it computes in float32 inside, or holds its row of padding fixed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.network.precision import inner_precision

MODEL_ROWS = 12


class Norm(nn.Module):
    """x / ‖x‖, computed in the type ``inside``, as Llama's is in float32."""

    def __init__(self, inside: torch.dtype) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(self.inside)
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Half(torch.autograd.Function):
    """The identity, whose derivative is said to be a half."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return given[0] / 2


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Half.apply(x)
        return found


def net(inside: torch.dtype, *more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), Norm(inside), *more, nn.Tanh(), nn.Linear(4, 2)).double()


def rows() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(MODEL_ROWS, 3, generator=g, dtype=torch.float64), torch.arange(MODEL_ROWS) % 2


def test_what_float32_inside_rounds_is_suspect_with_the_reason_and_bounded() -> None:
    found = calclab.loss(net(torch.float32), nn.CrossEntropyLoss(), rows())
    true = calclab.loss(net(torch.float64), nn.CrossEntropyLoss(), rows())
    known = {"top": 2, "bottom": 1, "matrix": "never", "tol": 1e-9, "slices": 0}
    result, exact = calclab.hessian(found, **known), calclab.hessian(true, **known)
    assert any("computes in float32 inside" in note and "(first in 1)" in note for note in found.notes)
    assert not any("inside" in note for note in true.notes)
    assert exact.verdict == "consistent"
    assert result.verdict == "suspect"
    doubted = result.evidence[result.evidence["verdict"] == "suspect"]
    assert len(doubted) > 0
    assert all("computes in float32 inside" in note for note in doubted["note"])
    gaps = (result.eigenvalues - exact.eigenvalues).abs()
    assert bool((gaps <= result.residuals).all())
    assert float(gaps.max()) > 1e-13  # there was something to be bounded
    assert "rounding of float32" in result.sentence


def test_a_wrong_derivative_is_refuted_whatever_the_network_computes_in() -> None:
    network = calclab.loss(net(torch.float32, Wrong()), nn.CrossEntropyLoss(), rows())
    assert calclab.partial(network).verdict == "refuted"


@pytest.mark.parametrize("inside", [torch.float16, torch.bfloat16])
def test_the_smallest_type_is_named_and_constants_count_for_nothing(inside: torch.dtype) -> None:
    X = rows()[0]
    twice = nn.Sequential(net(torch.float32), nn.Linear(2, 2).double(), Norm(inside))
    assert inner_precision(twice, lambda: twice(X)) == (inside, "0.1")
    constant = net(torch.float64)
    constant.register_buffer("angle", torch.ones(3))
    assert inner_precision(constant, lambda: constant(X * constant.angle.to(torch.float16))) is None


def test_the_row_of_padding_is_named_and_is_no_fault() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Flatten(), nn.Tanh(), nn.Linear(6, 2)).double()
    ids = torch.tensor([[1, 2], [3, 0], [4, 0], [2, 1]])
    network = calclab.loss(model, nn.CrossEntropyLoss(), (ids, torch.tensor([0, 1, 1, 0])))
    assert any(note.startswith("0.weight[0], the row of padding") for note in network.notes)
    assert network.objective().held is not None
    assert network.objective().held.nonzero().flatten().tolist() == [0, 1, 2]
    for question, known in (
        (calclab.partial, {}),
        (calclab.hessian, {}),
        (calclab.hessian, {"matrix": "never", "trace_tol": None}),
    ):
        assert question(network, **known).verdict == "consistent"
    unpadded = calclab.loss(model, nn.CrossEntropyLoss(), (ids.clamp(min=1), torch.tensor([0, 1, 1, 0])))
    assert not any("padding" in note for note in unpadded.notes)
