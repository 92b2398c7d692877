"""Every rule walks torch.optim's path, and the paths computed at 50 digits; a batch has the bits of its runs alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from calclab.core import Function, Point, Rule
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import admit, spent, stack
from calclab.optimizer.adaptive import Adagrad, Adam, AdamW, RMSprop
from calclab.optimizer.lbfgs import LBFGS
from calclab.optimizer.newton import DampedNewton, Newton
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.subject.formula import formula

TRUTH = json.loads((Path(__file__).parent.parent / "truth" / "public_descent.json").read_text(encoding="utf-8"))[
    "items"
]
PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
optim = torch.optim
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RMS = {"decay": 0.95, "eps": 1e-8}
RULES: dict[str, tuple[Rule, Callable[..., optim.Optimizer]]] = {
    "gd": (GradientDescent(), lambda p, lr: optim.SGD(p, lr=lr)),
    "momentum": (Momentum(momentum=0.9), lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9)),
    "nesterov": (Nesterov(momentum=0.9), lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True)),
    "adagrad": (
        Adagrad(initial=0.3, eps=1e-10),
        lambda p, lr: optim.Adagrad(p, lr=lr, initial_accumulator_value=0.3),
    ),
    "rmsprop": (RMSprop(**RMS, momentum=0.0, centred=False), lambda p, lr: optim.RMSprop(p, lr=lr, alpha=0.95)),
    "rmsprop_momentum": (
        RMSprop(**RMS, momentum=0.6, centred=False),
        lambda p, lr: optim.RMSprop(p, lr=lr, alpha=0.95, momentum=0.6),
    ),
    "rmsprop_centred": (
        RMSprop(**RMS, momentum=0.6, centred=True),
        lambda p, lr: optim.RMSprop(p, lr=lr, alpha=0.95, momentum=0.6, centered=True),
    ),
    "adam": (Adam(**ADAM), lambda p, lr: optim.Adam(p, lr=lr)),
    "adamw": (AdamW(**ADAM, weight_decay=0.02), lambda p, lr: optim.AdamW(p, lr=lr, weight_decay=0.02)),
    "lbfgs": (
        LBFGS(history=7),
        lambda p, lr: optim.LBFGS(p, lr=lr, max_iter=1, history_size=7, tolerance_grad=0, tolerance_change=0),
    ),
}
ENTRYWISE = [name for name, (rule, _) in RULES.items() if getattr(rule, "entrywise", False)]
CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "well": lambda x: ((x[0] - 3) ** 2 + 10 * (x[1] - x[0] ** 2 / 7) ** 2).cosh().log(),
    "quadratic": lambda x: x[0] ** 2 + 12 * x[1] ** 2 + x[0] * x[1] - x[1],
    "rosenbrock": lambda x: 0.1 * (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2,
    "waves": lambda x: x[0].sin() * (2 * x[1]).cos() + 0.1 * (x * x).sum(),
}


def function(name: str) -> Function:
    return Function(name, CALLS[name], torch.tensor([-1.3, 0.7], dtype=torch.float64), ("x", "y"))


def walk(rule: Rule, f: Function, lr: float, steps: int) -> Tensor:
    x, state, path = f.start, rule.init(f.start), [f.start]
    for _ in range(steps):
        loss, g = loss_and_gradient(f, x)
        move, state = rule.update(Point(x, loss, g, f), state, lr)
        x = x + move
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("lr", [0.002, 0.01])
@pytest.mark.parametrize("where", CALLS)
@pytest.mark.parametrize("name", RULES)
def test_path_of_torch_optim(name: str, where: str, lr: float) -> None:
    rule, other = RULES[name]
    f = function(where)
    x = f.start.clone().requires_grad_()
    optimizer, path = other([x], lr=lr), [f.start]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = f.call(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(50):
        optimizer.step(closure)
        path.append(x.detach().clone())
    gap = (walk(rule, f, lr, 50) - torch.stack(path)).abs().max()
    assert float(gap) < 1e-12


RUNS = [
    (item, run) for item in TRUTH for run in item["runs"] if run["optimizer"] in ("gd", "momentum", "nesterov", "adam")
]


def gap_to_truth(rule: Rule, item: dict[str, Any], run: dict[str, Any]) -> float:
    f = formula(name=item["function"], expr=item["expr"], variables=item["vars"], at=item["start"], **PLACE)
    truth = torch.tensor(run["x"], dtype=torch.float64)
    path = walk(rule, f, run["lr"], item["steps"])[: len(truth)]
    return float(((path - truth).abs() / truth.abs().clamp(min=1)).max())


@pytest.mark.parametrize(("item", "run"), RUNS, ids=[f"{item['function']}-{run['method']}" for item, run in RUNS])
def test_path_at_50_digits(item: dict[str, Any], run: dict[str, Any]) -> None:
    assert gap_to_truth(RULES[run["optimizer"]][0], item, run) < 1e-12


NEWTON = [(item, run) for item in TRUTH for run in item["runs"] if run["optimizer"] == "newton"]


@pytest.mark.parametrize(("item", "run"), NEWTON, ids=[item["function"] for item, _ in NEWTON])
def test_newton_at_50_digits(item: dict[str, Any], run: dict[str, Any]) -> None:
    assert gap_to_truth(Newton(limit=10), item, {**run, "lr": 1.0}) < 1e-11


# --- batches --------------------------------------------------------------------------------------------------------


def rows_of(state: Any, row: int) -> Any:
    return {name: value[row] for name, value in state.items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ENTRYWISE)
def test_a_batch_has_the_bits_of_its_runs_alone(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    count = 21  # no multiple of a vector's width
    x = torch.randn(count, 3, generator=generator, dtype=dtype)
    lr = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 0.1
    rules = [vary(RULES[name][0], row) for row in range(count)]
    together = stack(rules)
    assert together is not None
    f = Function("f", lambda x: x.sum(), x[0], ("a", "b", "c"))

    def gradient(x: Tensor) -> Tensor:
        return x * x * x / 5 - x + 0.3

    alone = list(x)
    state, states = together.init(x), [rule.init(row) for rule, row in zip(rules, alone, strict=True)]
    for _ in range(40):
        move, state = together.update(Point(x, x[:, 0], gradient(x), f), state, lr)
        x = x + move
        for i, rule in enumerate(rules):
            here = alone[i]
            move, states[i] = rule.update(Point(here, here[0], gradient(here), f), states[i], float(lr[i]))
            alone[i] = here + move
    assert x.dtype == dtype
    assert bool(x.isfinite().all())
    assert torch.equal(x, torch.stack(alone))
    for i in range(count):
        assert all(torch.equal(state[key][i], states[i][key]) for key in state)


def vary(rule: Rule, row: int) -> Rule:
    """The same rule with its numbers, all below 1, a little smaller in each row."""
    numbers = {
        entry.name: getattr(rule, entry.name) * (1 - row / 100)
        for entry in dataclasses.fields(rule)  # type: ignore[arg-type]
        if entry.init and isinstance(getattr(rule, entry.name), float)
    }
    return dataclasses.replace(rule, **numbers)  # type: ignore[type-var]


def test_what_cannot_share_a_batch_is_not_stacked() -> None:
    centred, plain = (RMSprop(**RMS, momentum=0.0, centred=centred) for centred in (True, False))
    assert stack([centred, plain]) is None
    assert stack([GradientDescent(), Momentum(momentum=0.5)]) is None
    assert stack([Newton(limit=10), Newton(limit=10)]) is None
    assert stack([GradientDescent(), GradientDescent()]) == GradientDescent()


# --- Newton, damped Newton, L-BFGS ----------------------------------------------------------------------------------


def test_newton_ends_in_a_saddle_where_damped_newton_ends_in_a_minimum() -> None:
    at_saddle = Function(
        "f", lambda x: x[0] ** 2 / 2 + x[1] ** 4 / 4 - x[1] ** 2 / 2, torch.tensor([0.8, 0.1]).double(), ("x", "y")
    )
    assert torch.allclose(walk(Newton(limit=2), at_saddle, 1.0, 20)[-1], torch.zeros(2).double(), atol=1e-12)
    end = walk(DampedNewton(damping=1e-3, limit=2), at_saddle, 1.0, 30)[-1]
    assert torch.allclose(end, torch.tensor([0.0, 1.0]).double(), atol=1e-9)


@pytest.mark.parametrize("where", CALLS)
def test_damped_newton_only_goes_downhill(where: str) -> None:
    f = function(where)
    path = walk(DampedNewton(damping=1e-3, limit=2), f, 1.0, 60)
    loss = torch.stack([f.call(x) for x in path])
    assert bool((loss[1:] <= loss[:-1] + 1e-14).all())
    assert float(loss_and_gradient(f, path[-1])[1].norm()) < 1e-8


def test_damped_newton_converges_faster_than_linearly() -> None:
    f = function("rosenbrock")
    sizes = [float(loss_and_gradient(f, x)[1].norm()) for x in walk(DampedNewton(damping=1e-3, limit=2), f, 1.0, 40)]
    ratios = [b / a for a, b in pairwise(sizes) if 1e-11 < a < 1e-1]
    assert ratios[-1] < 1e-3
    assert sizes[-1] < 1e-12


def test_newton_counts_its_hessians_as_n_gradients() -> None:
    f, rule = function("well"), Newton(limit=2)
    state = rule.init(f.start)
    loss, g = loss_and_gradient(f, f.start)
    for _ in range(3):
        _, state = rule.update(Point(f.start, loss, g, f), state, 1.0)
    assert spent(rule, state) == 6
    assert spent(GradientDescent(), {}) == 0


def test_where_there_is_no_hessian_nothing_is_raised() -> None:
    """(H + I)⁻¹ g is g where H is zero; H⁻¹ g is nothing there, and a kink is left by neither."""
    flat = Function("f", lambda x: x.sum(), torch.ones(3).double(), ("x", "y", "z"))
    kink = Function("f", lambda x: x.norm(), torch.zeros(3).double(), ("x", "y", "z"))
    newton, damped = Newton(limit=3), DampedNewton(damping=1.0, limit=3)
    assert all(x.isnan().all() for f in (flat, kink) for x in walk(newton, f, 1.0, 3)[1:])
    assert walk(damped, flat, 1.0, 1)[1].tolist() == [0, 0, 0]
    sums = [float(x.sum()) for x in walk(damped, flat, 1.0, 3)]
    assert sums == sorted(set(sums), reverse=True)
    assert all(x.tolist() == [0, 0, 0] for x in walk(damped, kink, 1.0, 3))


def test_lbfgs_needs_few_steps_where_its_history_spans_the_space() -> None:
    scales = torch.logspace(0, 3, 6, dtype=torch.float64)
    f = Function("f", lambda x: (scales * x * x).sum() / 2, torch.ones(6).double(), tuple("abcdef"))
    sizes = [float(loss_and_gradient(f, x)[1].norm()) for x in walk(LBFGS(history=10), f, 1.0, 60)]
    assert min(sizes) < 1e-6
    slow = [float(loss_and_gradient(f, x)[1].norm()) for x in walk(GradientDescent(), f, 2 / 1001, 60)]
    assert min(slow) > 1e-1


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"momentum=1\.5"):
        Momentum(momentum=1.5)
    with pytest.raises(UserError, match=r"momentum=1\.5"):
        Momentum(momentum=torch.tensor([[0.5], [1.5]]))  # type: ignore[arg-type]


def test_a_hessian_too_large_is_refused() -> None:
    with pytest.raises(UserError, match="optimizer=lbfgs"):
        admit(Newton(limit=10), Function("f", lambda x: x.sum(), torch.zeros(11), tuple("abcdefghijk")))
