"""Awkward loops: the training goes on, at most one thing is told of a mistake, and no number is made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.checkpoint import checkpoint

import calclab
from calclab.errors import UserError

X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 16).reshape(8, 2)
EVERYTHING = {"weight", "gradient", "update", "layers", "loss", "noise", "watch"}
NORMS = {"weight", "gradient", "update", "layers", "watch"}


@dataclass
class Case:
    """``change`` is called before each step; ``given`` is what the watch is told; groups of readings, and events."""

    model: nn.Module
    groups: set[str]
    events: int = 0
    batch: tuple[Tensor, Tensor] = (X, Y)
    given: Any = ...
    criterion: Callable[..., Tensor] = mse_loss
    change: Callable[[nn.Module, torch.optim.Optimizer, int], None] = lambda *_: None


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def raising(outputs: Tensor, targets: Tensor) -> Tensor:
    if not torch.is_grad_enabled() or len(outputs) < 8:  # at looks alone: of groups
        raise RuntimeError("only whole batches")
    return mse_loss(outputs, targets)


def grown(model: nn.Module, optimizer: torch.optim.Optimizer, k: int) -> None:
    """A frozen layer is thawed."""
    if k == 1:
        held = model[0].requires_grad_(True).parameters()  # type: ignore[index]
        optimizer.add_param_group({"params": held, "lr": 0.01})


def replaced(model: nn.Module, optimizer: torch.optim.Optimizer, k: int) -> None:
    if k == 1:
        model.weight = nn.Parameter(torch.zeros(2, 4))
        optimizer.param_groups[0]["params"][0] = model.weight


def frozen_first() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 2, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.cfloat) @ self.w).abs()


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.a, self.b, self.reentrant = nn.Linear(4, 4), nn.Linear(4, 2), reentrant

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(checkpoint(self.a, x, use_reentrant=self.reentrant))
        return found


CASES: dict[str, Callable[[], Case]] = {
    "plain": lambda: Case(linear(), EVERYTHING),
    "one row": lambda: Case(linear(), NORMS, 1, (X[:1], Y[:1])),
    "no row": lambda: Case(linear(), NORMS, 1, (X[:0], Y[:0]), criterion=lambda a, b: (a - b).square().sum()),
    "all rows the same": lambda: Case(linear(), EVERYTHING, 0, (X[:1].repeat(8, 1), Y[:1].repeat(8, 1))),
    "a loss of no parameter": lambda: Case(linear(), EVERYTHING, criterion=lambda a, b: (a * 0).sum()),
    "no batch": lambda: Case(linear(), NORMS, 1, given=None),
    "inputs alone": lambda: Case(linear(), NORMS, 1, given=X),
    "a word": lambda: Case(linear(), NORMS, 1, given="batch"),
    "a criterion that raises": lambda: Case(linear(), NORMS, 1, criterion=raising),
    "a layer that is thawed": lambda: Case(frozen_first(), EVERYTHING, change=grown),
    "a parameter that is replaced": lambda: Case(linear(), EVERYTHING, change=replaced),
    "complex weights": lambda: Case(Complex(), EVERYTHING),
    "checkpoints": lambda: Case(Checkpointed(False), EVERYTHING),
    "reentrant checkpoints": lambda: Case(Checkpointed(True), EVERYTHING, 0, (X.clone().requires_grad_(), Y)),
    "computed weights": lambda: Case(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))), EVERYTHING),
}


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("name", CASES)
def test_the_training_goes_on(name: str) -> None:
    case = CASES[name]()
    model = case.model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    known: Any = {"every": 1, "budget": None, "quantities": ["norms", "noise"]}
    with calclab.Watch(model, case.criterion, optimizer, **known) as watch:
        x, y = case.batch
        for k in range(5):
            case.change(model, optimizer, k)
            optimizer.zero_grad()
            case.criterion(model(x), y).backward()
            optimizer.step()
            watch.step(case.batch if case.given is ... else case.given)
    assert {name.partition("/")[0] for name in watch.values.name} == case.groups, watch.events
    assert len(watch.events) == case.events, watch.events
    assert not watch.values.value.isna().any()
    if case.change is grown:
        assert "layers/weight_norm/0" in set(watch.values.name)
    if case.change is replaced:
        assert watch.values.name.eq("layers/weight_norm/weight").sum() >= 4


def test_numbers_that_are_lost_are_not_made_up() -> None:
    """Of a loss that is NaN the noise is no number, and not 0."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with calclab.Watch(model, mse_loss, optimizer, every=1, budget=None, quantities=["noise"]) as watch:
        mse_loss(model(X * torch.nan), Y).backward()
        optimizer.step()
        watch.step((X * torch.nan, Y))
    assert set(watch.values.name[watch.values.value.isna()]) == {"loss/loss"}
    assert not {name for name in watch.values.name if name.startswith("noise/")}


@pytest.mark.parametrize(
    "batch", [[X, X, Y], (X, X, Y), ((X, X), Y), ([X, X], Y), {"input1": X, "input2": X, "labels": Y}]
)
def test_two_inputs(batch: Sequence[Any]) -> None:
    model = nn.Bilinear(4, 4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with calclab.Watch(model, mse_loss, optimizer, every=1, budget=None, quantities=["noise"]) as watch:
        mse_loss(model(X, X), Y).backward()
        optimizer.step()
        watch.step(batch)
        expected = mse_loss(model(X, X), Y).item()
    loss = watch.values.value[watch.values.name == "loss/loss"].item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_what_is_watched_can_be_copied_and_watched_twice() -> None:
    model = linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1))
    watches = [calclab.Watch(model, mse_loss, optimizer, every=1, budget=None, quantities=["norms"]) for _ in range(2)]
    mse_loss(model(X), Y).backward()
    optimizer.step()
    for watch in watches:
        watch.step((X, Y))
    deepcopy(optimizer).step()
    deepcopy(model)(X)
    one, other = (watch.values[watch.values.name != "watch/cost"] for watch in watches)
    assert one.equals(other)
    watches[0].close()
    assert len(optimizer._optimizer_step_pre_hooks) == 1


def test_a_model_without_shapes_is_refused() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(UserError, match="Call it once"):
        calclab.Watch(model, mse_loss, torch.optim.SGD(model.parameters()))


def test_rates_are_those_of_the_step() -> None:
    """A schedule that has moved on meanwhile changes nothing."""
    seen: list[float] = []

    class Rate:
        name, cost = "rate", 0.1

        def take(self, moment: Any) -> list[Any]:
            seen.append(moment.rates["weight"])
            return []

    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with calclab.Watch(model, mse_loss, optimizer, every=2, budget=None, quantities=[Rate()]) as watch:
        for _ in range(4):
            mse_loss(model(X), Y).backward()
            optimizer.step()
            schedule.step()
            watch.step((X, Y))
    assert seen == [0.5, 0.125]
