"""Integrated gradients that end above their tolerance are not refuted for it; those of a wrong gradient are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.attribution import quadrature


class Steps(nn.Module):
    """Σ|sin 40x|: kinks all along the path, which no operation of a piecewise linear network makes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.sin(40 * x).abs() * self.scale).sum(1, keepdim=True)


class Doubled(torch.autograd.Function):
    """The identity, whose derivative is said to be two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return 2 * given[0]


class Wrong(Steps):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Doubled.apply(super().forward(x))
        return found


def verdict(module: nn.Module) -> tuple[str, str]:
    X = torch.tensor([[0.9, 0.7], [0.31, 1.3]], dtype=torch.float64)
    subject = calclab.outputs(module.double(), (X, torch.zeros(2, 1, dtype=torch.float64)))
    known = {"target": "output.0", "trust": False, "retrains": 0, "bootstrap": 0, "baseline": "zeros"}
    result = calclab.importance(subject, method=["integrated_gradients"], **known)
    return result.verdict, " ".join(result.evidence["note"])


def test_a_quadrature_that_ended_early_has_not_reached_its_tolerance(monkeypatch: Any) -> None:
    monkeypatch.setattr(quadrature, "INTERVALS", 256)
    word, note = verdict(Steps())
    assert word == "inconclusive"
    assert "tolerance not reached" in note


def test_what_a_wrong_gradient_misses_is_refuted() -> None:
    assert verdict(Wrong())[0] == "refuted"


class Switched(Steps):
    """Steps, and 1 from where the first entry is above a half: a leap on the way, as routing makes it."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x) + (x[:, :1] > 0.5).to(x.dtype)
        return found


def test_a_leap_on_the_way_is_no_contradiction() -> None:
    word, note = verdict(Switched())
    assert word == "inconclusive"
    assert "F leaps" in note


class Narrow(Steps):
    """Steps and a layer of 1e-11 at zero, as nested norms of nothing but zeros make it."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x) + torch.atan(1e11 * x[:, :1])
        return found


def test_a_layer_beside_the_baseline_is_reached_whatever_kinks_there_are() -> None:
    """The first entry's value holds atan(1e11 x), π/2 to 11 digits, beside its own ∫|sin|'."""
    X = torch.tensor([[0.9, 0.7]], dtype=torch.float64)
    known = {"target": "output.0", "trust": False, "retrains": 0, "bootstrap": 0, "baseline": "zeros"}
    found = [
        calclab.importance(
            calclab.outputs(module.double(), (X, torch.zeros(1, 1, dtype=torch.float64))),
            method=["integrated_gradients"],
            **known,
        )
        for module in (Narrow(), Steps())
    ]
    narrow, plain = (result.columns["attributions"].data.reshape(-1) for result in found)
    assert float(narrow[0] - plain[0]) == pytest.approx(torch.pi / 2, rel=1e-4)
