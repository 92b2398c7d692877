"""The loss of rows that are read window by window is the loss of all, with its derivatives of every order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import calclab
from calclab.core import Rows
from calclab.second_order import KINDS, curvature, diagonal_gauss_newton
from calclab.subject.network import Network
from calclab.subject.scores import scores

G = torch.Generator().manual_seed(0)
X = torch.randn(83, 6, generator=G, dtype=torch.float64)
CLASSES, NUMBERS = torch.randint(0, 3, (83,), generator=G), torch.randn(83, 3, generator=G, dtype=torch.float64)


def pair(criterion: object, targets: torch.Tensor) -> tuple[Network, Network]:
    """One network on the same rows, in memory and read twenty at a time."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    whole = calclab.loss(model, criterion, (X, targets))  # type: ignore[arg-type]
    read = Rows(lambda index: X[index], X.shape, memory=8 * 48 * 20, dtype=X.dtype)
    return whole, calclab.loss(model, criterion, replace(whole.data, inputs=read))  # type: ignore[arg-type]


CRITERIA = [
    (nn.CrossEntropyLoss(), CLASSES),
    (nn.MSELoss(), NUMBERS),
    (nn.MSELoss(reduction="sum"), NUMBERS),
    (lambda y, t: (y - t).abs().pow(1.5).mean(), NUMBERS),
]


@pytest.mark.parametrize("given", range(len(CRITERIA)))
def test_value_and_derivatives_do_not_depend_on_the_windows(given: int) -> None:
    whole, read = pair(*CRITERIA[given])
    f, g = whole.objective(), read.objective()
    v = torch.linspace(-1, 1, len(f.start), dtype=torch.float64)

    def of(call: object) -> list[torch.Tensor]:
        assert callable(call)
        x = f.start.clone().requires_grad_()
        (slope,) = torch.autograd.grad(call(x), x, create_graph=True)
        (curve,) = torch.autograd.grad(slope @ v, x, create_graph=True)
        (third,) = torch.autograd.grad(curve @ v, x)
        forward = torch.func.jvp(call, (f.start,), (v,))[1]
        both = torch.vmap(call)(torch.stack([f.start, v]))
        return [call(f.start), slope, curve, third, forward, both, torch.func.grad(call)(f.start)]

    for name, left, right in zip(["f", "g", "h", "t", "j", "v", "F"], of(f.call), of(g.call), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14, msg=name)


def test_curvature_of_all_kinds_and_scores_do_not_depend_on_the_windows() -> None:
    whole, read = pair(*CRITERIA[0])
    V = torch.randn(sum(whole.sizes), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for kind in KINDS:
        torch.testing.assert_close(curvature(read, kind) @ V, curvature(whole, kind) @ V, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(diagonal_gauss_newton(read), diagonal_gauss_newton(whole))
    θ = whole.flatten(whole.parameters())
    for name, score in scores(whole, θ).items():
        torch.testing.assert_close(scores(read, θ)[name], score)
    whole, read = pair(*CRITERIA[1])
    torch.testing.assert_close(scores(read, θ)["train_r2"], scores(whole, θ)["train_r2"])


def test_rows_that_depend_on_each_other_are_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    read = Rows(lambda index: X[index], X.shape, memory=8 * 48 * 20, dtype=X.dtype)
    data = replace(calclab.loss(nn.Linear(6, 3).double(), None, (X, CLASSES)).data, inputs=read)
    with pytest.raises(calclab.UserError, match="mixes rows"):
        calclab.loss(model, None, data).objective()
