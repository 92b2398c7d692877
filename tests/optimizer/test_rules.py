"""Every rule walks torch.optim's path, and the paths computed at 50 digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from calclab.core import Rule
from calclab.errors import UserError
from calclab.function.formula import formula
from calclab.optimizer.rules import Adam, GradientDescent, Momentum, Nesterov

TRUTH = json.loads((Path(__file__).parent.parent / "truth" / "public_descent.json").read_text(encoding="utf-8"))[
    "items"
]
PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
RULES: dict[str, tuple[Callable[[float], Rule], Callable[..., torch.optim.Optimizer]]] = {
    "gd": (lambda lr: GradientDescent(lr=lr), lambda p, lr: torch.optim.SGD(p, lr=lr)),
    "momentum": (lambda lr: Momentum(lr=lr, momentum=0.9), lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
    "nesterov": (
        lambda lr: Nesterov(lr=lr, momentum=0.9),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    ),
    "adam": (
        lambda lr: Adam(lr=lr, beta1=0.9, beta2=0.999, eps=1e-8),
        lambda p, lr: torch.optim.Adam(p, lr=lr),
    ),
}


def walk(rule: Rule, call: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    state, path = rule.init(x), [x]
    for _ in range(steps):
        move, state = rule.update(torch.func.grad(call)(x), state, x)
        x = x + move
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("name", RULES)
def test_path_of_torch_optim(name: str) -> None:
    rule, other = RULES[name]
    call = lambda x: ((x[0] - 3) ** 2 + 10 * (x[1] - x[0] ** 2 / 7) ** 2).cosh().log()  # noqa: E731
    start = torch.tensor([-1.3, 0.7], dtype=torch.float64)
    x = start.clone().requires_grad_()
    optimizer, path = other([x], lr=0.02), [start]
    for _ in range(50):
        optimizer.zero_grad()
        call(x).backward()
        optimizer.step()
        path.append(x.detach().clone())
    assert torch.allclose(walk(rule(0.02), call, start, 50), torch.stack(path), rtol=1e-12, atol=1e-13)


RUNS = [(item, run) for item in TRUTH for run in item["runs"] if run["optimizer"] in RULES]


@pytest.mark.parametrize(("item", "run"), RUNS, ids=[f"{item['function']}-{run['method']}" for item, run in RUNS])
def test_path_at_50_digits(item: dict[str, Any], run: dict[str, Any]) -> None:
    f = formula(name=item["function"], expr=item["expr"], variables=item["vars"], at=item["start"], **PLACE)
    path = walk(RULES[run["optimizer"]][0](run["lr"]), f.call, f.start, item["steps"])
    truth = torch.tensor(run["x"], dtype=torch.float64)
    assert float(((path - truth).abs() / truth.abs().clamp(min=1)).max()) < 1e-10


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"momentum=1\.5"):
        Momentum(lr=0.1, momentum=1.5)
