"""Whether the loss that is looked at is the one that is trained: right ones are never alarmed at, wrong ones always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import calclab

Trained = Callable[[nn.Module, Tensor, Tensor], Tensor]


def watched(model: nn.Module, trained: Trained, criterion: Any, *, clip: float = 0.0, other: bool = False) -> Any:
    """A watch of a training by the loss ``trained`` that was given ``criterion``, and is told another batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["agreement"]) as watch:
        for k in range(5):
            made = torch.Generator().manual_seed(k)
            x, y = torch.randn(32, 6, generator=made), torch.randint(0, 3, (32,), generator=made)
            optimizer.zero_grad()
            trained(model, x, y).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            watch.step((torch.randn(32, 6, generator=made), y) if other else (x, y))
    return watch


def mlp(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), *more, nn.Linear(16, 3))


def usual(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model(x), y)


def mixed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return usual(model, x, y)


RIGHT: dict[str, Callable[[], Any]] = {
    "plain": lambda: watched(mlp(), usual, cross_entropy),
    "clipped": lambda: watched(mlp(), usual, cross_entropy, clip=0.01),
    "scaled": lambda: watched(mlp(), lambda model, x, y: 1000 * usual(model, x, y), cross_entropy),
    "batch norm": lambda: watched(mlp(nn.BatchNorm1d(16)), usual, cross_entropy),
    "dropout": lambda: watched(mlp(nn.Dropout(0.5)), usual, cross_entropy),
    "autocast": lambda: watched(mlp(), mixed, cross_entropy),
}
WRONG: dict[str, Callable[[], Any]] = {
    "another batch": lambda: watched(mlp(), usual, cross_entropy, other=True),
    "another loss": lambda: watched(mlp(), usual, lambda y, t: mse_loss(y, t[:, None].expand_as(y).float())),
    "a term left out": lambda: watched(
        mlp(), lambda model, x, y: usual(model, x, y) + sum(p.square().sum() for p in model.parameters()), cross_entropy
    ),
    "the sign": lambda: watched(mlp(), usual, lambda y, t: -cross_entropy(y, t)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_loss_that_is_trained_is_known(name: str) -> None:
    watch = RIGHT[name]()
    assert not watch.events
    verdicts = {row.verdict.word for row in watch.evidence}
    assert len(watch.evidence) == 3
    assert verdicts <= {"dropout": {"inconclusive", "consistent"}, "autocast": {"suspect"}}.get(name, {"consistent"})


@pytest.mark.parametrize("name", WRONG)
def test_another_loss_is_told_once(name: str) -> None:
    watch = WRONG[name]()
    assert len(watch.events) == 1
    assert "not the one that was trained" in watch.events[0].text
    assert {row.verdict.word for row in watch.evidence} == {"suspect"}
