"""Any torch.optim class is a rule: its own path, through a saved state, and mistakes told."""

from __future__ import annotations

import functools
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from calclab.core import Function, Point, State
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import as_rule, spent
from calclab.optimizer.rules import Momentum

CLASSES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"momentum": 0.7, "dampening": 0.2, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adadelta", {}),
    ("Adafactor", {}),
    ("Adam", {"betas": [0.8, 0.9], "amsgrad": True}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("ASGD", {"t0": 5}),
    ("Rprop", {}),
    ("LBFGS", {"max_iter": 1}),
    ("LBFGS", {"max_iter": 3}),
    ("LBFGS", {"max_iter": 2, "max_eval": 25, "line_search_fn": "strong_wolfe"}),
]


def call(x: Tensor) -> Tensor:
    return 0.1 * (1 - x[0]) ** 2 + 3 * (x[1] - x[0] ** 2) ** 2 + x[2] ** 4 / 4


F = Function("f", call, torch.tensor([-1.3, 0.7, 0.9], dtype=torch.float64), ("x", "y", "z"))


def reloaded(state: State) -> State:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: State = torch.load(file, weights_only=True)
    return loaded


def alike(a: State, b: State) -> bool:
    """The same tensors by the same names."""
    return list(a) == list(b) and all(
        alike(a[name], b[name]) if isinstance(a[name], dict) else torch.equal(a[name], b[name]) for name in a
    )


@pytest.mark.parametrize(("name", "knobs"), CLASSES, ids=[f"{name}{i}" for i, (name, _) in enumerate(CLASSES)])
def test_the_path_of_the_class_itself(name: str, knobs: dict[str, Any]) -> None:
    kind = getattr(torch.optim, name)
    rule = as_rule(functools.partial(kind, **knobs))
    x, state = F.start, rule.init(F.start)
    leaf = F.start.clone().requires_grad_()
    other = kind([leaf], lr=0.01, **{k: tuple(v) if isinstance(v, list) else v for k, v in knobs.items()})
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        other.zero_grad()
        loss = call(leaf)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for k in range(50):
        loss, g = loss_and_gradient(F, x)
        kept, before = state, reloaded(state) if k % 20 == 5 else None
        move, state = rule.update(Point(x, loss, g, F), state if before is None else before, 0.01)
        assert before is None or alike(kept, before), "an update is pure"
        x = x + move
        other.step(closure)
        # a search by comparisons magnifies what x + move loses in rounding
        assert torch.allclose(x, leaf.detach(), rtol=0, atol=1e-11 if "line_search_fn" in knobs else 1e-12)
    assert float((x - F.start).norm()) > 1e-4
    assert spent(rule, state) == calls - 50


def test_a_rate_that_changes_is_handed_on() -> None:
    rule, state = as_rule(functools.partial(torch.optim.SGD)), None
    loss, g = loss_and_gradient(F, F.start)
    for lr in (0.1, 0.02):
        state = rule.init(F.start) if state is None else state
        move, state = rule.update(Point(F.start, loss, g, F), state, lr)
        assert torch.allclose(move, -lr * g, rtol=1e-12, atol=1e-15)


def test_an_own_optimizer_that_keeps_odd_things() -> None:
    rule, state = as_rule(functools.partial(Odd)), None
    loss, g = loss_and_gradient(F, F.start)
    sizes = []
    for _ in range(4):
        state = reloaded(rule.init(F.start) if state is None else state)
        move, state = rule.update(Point(F.start, loss, g, F), state, 1.0)
        sizes.append(float(move[0] / -g[0]))
    assert sizes == pytest.approx([1, 2, 3, 4], rel=1e-12)


class Odd(torch.optim.Optimizer):
    """Keeps a count in its group, and lists, None and numbers in its state."""

    def __init__(self, params: Any, lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "count": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        (p,) = group["params"]
        state = self.state[p]
        if group["count"]:
            assert state["kept"] == [None, group["count"], (True, 0.5)]
            assert state["a b"].shape == (2,)
        group["count"] += 1
        state["kept"], state["a b"] = [None, group["count"], (True, 0.5)], torch.zeros(2)
        p -= group["lr"] * group["count"] * p.grad


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (functools.partial(torch.optim.RMSprop, alfa=0.9), r"optimizer\.alfa: RMSprop .* takes alpha, eps"),
        (functools.partial(torch.optim.SGD, momentum=-1), "Invalid momentum value: -1"),
        (functools.partial(torch.optim.SGD, nesterov=True), "requires a momentum"),
        (functools.partial(torch.optim.Adam, betas=5), "betas=5"),
        (functools.partial(torch.optim.SparseAdam), "dense gradients"),
        *([(functools.partial(torch.optim.Muon), "2D")] if hasattr(torch.optim, "Muon") else []),  # torch 2.9 has it
        (functools.partial(torch.optim.LBFGS, max_iter=1, line_search_fn="strong_wolfe"), r"\+optimizer\.max_eval=25"),
        (functools.partial(Momentum, beta=0.9), r"optimizer\.beta: Momentum .* takes momentum"),
        (functools.partial(Momentum), "momentum"),
        (functools.partial(torch.nn.Linear, in_features=2, out_features=3), "makes no optimizer"),
    ],
)
def test_a_mistake_is_told(made: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        as_rule(made)


def test_a_rule_is_returned_as_it_is() -> None:
    assert as_rule(functools.partial(Momentum, momentum=0.5)) == Momentum(momentum=0.5)


def test_a_line_search_may_look_twice_and_not_once() -> None:
    """With max_eval=1 torch's strong Wolfe search never moves; with 2 it does."""
    made = lambda most: functools.partial(torch.optim.LBFGS, max_iter=1, max_eval=most, line_search_fn="strong_wolfe")  # noqa: E731
    with pytest.raises(UserError, match="never moves"):
        as_rule(made(1))
    rule, x = as_rule(made(2)), torch.tensor([1.0, -2.0], dtype=torch.float64)
    f = Function("f", lambda z: (z * z).sum(), x, ("x", "y"))
    move, _ = rule.update(Point(x, f.call(x), 2 * x, f), rule.init(x), 0.1)
    assert float((x + move).norm()) < float(x.norm())


def test_half_a_rule_is_none() -> None:
    class OnlyInit:
        def init(self, x):
            return {}

    class OnlyUpdate:
        def update(self, point, state, lr):
            return point.x, state

    for half in (OnlyInit, OnlyUpdate):
        with pytest.raises(UserError, match="makes no optimizer"):
            as_rule(functools.partial(half))
