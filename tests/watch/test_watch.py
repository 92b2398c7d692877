"""The watch in a plain loop: what is read is what the step was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.errors import UserError

Batch = tuple[Tensor, Tensor]


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def rows(count: int, size: int = 12) -> Iterator[Batch]:
    for seed in range(count):
        made = torch.Generator().manual_seed(seed)
        yield torch.randn(size, 5, generator=made), torch.randint(0, 3, (size,), generator=made)


def at(watch: calclab.Watch, step: int) -> dict[str, float]:
    frame = watch.values
    return dict(zip(frame.name[frame.step == step], frame.value[frame.step == step], strict=True))


def test_norms_are_those_of_the_step() -> None:
    """Of gradient descent the step is lr times the gradient that was clipped, and the weights are those after it."""
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with calclab.Watch(model, criterion, optimizer, every=3, budget=None, quantities=["norms"]) as watch:
        gradients: list[Tensor] = []
        for k, (x, y) in enumerate(rows(9), 1):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]))
            optimizer.step()
            optimizer.zero_grad()
            watch.step((x, y))
            if k % 3:
                continue
            found = at(watch, k)
            assert found["gradient/norm"] == pytest.approx(float(gradients[-1].norm()), rel=1e-5)
            assert found["update/norm"] == pytest.approx(0.25 * found["gradient/norm"], rel=1e-4)
            cosine = float(torch.cosine_similarity(gradients[-1], gradients[-2], dim=0))
            assert found["gradient/cosine_to_previous"] == pytest.approx(cosine, abs=1e-5)
            weights = torch.cat([p.detach().flatten() for p in model[2].parameters()])  # type: ignore[index]
            assert found["layers/weight_norm/2"] == pytest.approx(float(weights.norm()), rel=1e-5)
            ratio = found["layers/update_norm/2"] / found["layers/weight_norm/2"]
            assert found["layers/update_to_weight/2"] == pytest.approx(ratio, rel=1e-6)
    assert sorted(set(watch.values.step)) == [3, 6, 9]


class Failing:
    name, cost = "failing", 1.0

    def take(self, moment: Any) -> list[Any]:
        raise RuntimeError("out of order")


def test_a_look_that_fails_is_told_once_and_given_up(caplog: pytest.LogCaptureFixture) -> None:
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["norms", Failing()])
    for x, y in rows(6):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        watch.step((x, y))
    watch.close()
    assert len(caplog.records) == 1
    assert "out of order" in caplog.text
    assert sorted(set(watch.values.step)) == [1, 2, 3, 4, 5, 6]


MISTAKES: list[tuple[Callable[[nn.Module], Any], str]] = [
    (lambda model: calclab.Watch(model, nn.MSELoss()), "optimizer is missing"),
    (lambda model: calclab.Watch(nn.MSELoss(), model, torch.optim.SGD(model.parameters())), "trains none"),
    (
        lambda model: calclab.Watch(model, torch.optim.SGD(model.parameters()), nn.MSELoss()),
        "criterion is an optimizer",
    ),  # type: ignore[arg-type]
    (lambda model: calclab.Watch(len, None, torch.optim.SGD(model.parameters())), "no torch.nn.Module"),  # type: ignore[arg-type]
    (lambda model: calclab.Watch(model, None, torch.optim.SGD(mlp().parameters())), "trains none"),
    (lambda model: calclab.Watch(model, None, torch.optim.SGD(model.parameters()), every=0), "every=0"),
    (lambda model: calclab.Watch(model, None, torch.optim.SGD(model.parameters()), budget=-1), "budget=-1"),
    (lambda model: calclab.Watch(model, None, torch.optim.SGD(model.parameters()), quantities=["norm"]), "'norms'"),
    (lambda model: calclab.Watch(model, None, torch.optim.SGD(model.parameters()), log=3), "log=3"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[said for _, said in MISTAKES])
def test_mistakes_teach(mistake: tuple[Callable[[nn.Module], Any], str]) -> None:
    make, said = mistake
    with pytest.raises(UserError, match=said):
        make(mlp())
