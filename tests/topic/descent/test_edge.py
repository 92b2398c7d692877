"""A network's largest stable rates at both ends, with the rule's own moments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import calclab
from calclab.core import Point
from calclab.library.questions import part
from calclab.numerics.operators import dense_hessian
from calclab.optimizer import as_rule
from calclab.optimizer.adaptive import Adagrad, Adam, AdamW, RMSprop
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.optimizer.stability import diagonals, frozen
from calclab.topic.descent.edge import edge, worth

TWINS: dict[str, tuple[Any, Any]] = {
    "gd": (GradientDescent(), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (Momentum(momentum=0.8), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8)),
    "nesterov": (Nesterov(momentum=0.8), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True)),
    "adagrad": (
        Adagrad(eps=1e-6, initial=0.1),
        lambda p: torch.optim.Adagrad(p, lr=0.1, eps=1e-6, initial_accumulator_value=0.1),
    ),
    "rmsprop": (
        RMSprop(decay=0.9, eps=1e-6, momentum=0.5, centred=True),
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, eps=1e-6, momentum=0.5, centered=True),
    ),
    "adam": (Adam(beta1=0.8, beta2=0.9, eps=1e-6), lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-6)),
    "adamw": (
        AdamW(beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3),
    ),
    "wrapped": (as_rule(torch.optim.NAdam), lambda p: torch.optim.NAdam(p, lr=0.1)),
}


@pytest.mark.parametrize("name", TWINS)
def test_the_labs_rules_feel_what_torchs_do(name: str) -> None:
    rule, make = TWINS[name]
    x = torch.zeros(4, dtype=torch.float64)
    leaf = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    state, optimizer = rule.init(x), make([leaf])
    assert (rule.frozen(state, 0.1) is None) is (name not in ("gd", "momentum", "nesterov"))  # none before a step
    for k in range(7):
        g = torch.linspace(-1, 2, 4, dtype=torch.float64) * (1 + 0.3 * k)
        _, state = rule.update(Point(x, x.sum(), g, None), state, 0.1)
        leaf.grad = g.clone()
        optimizer.step()
    own, theirs = (diagonals({leaf: share}, [leaf]) for share in (rule.frozen(state, 0.1), frozen(optimizer)[leaf]))
    assert torch.allclose(own.c, theirs.c, rtol=1e-12)
    assert torch.allclose(own.d, theirs.d, rtol=1e-12)


def network(width: int = 12) -> Any:
    torch.manual_seed(0)
    X = torch.randn(50, 6).double()
    model = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 3)).double()
    return calclab.loss(model, "cross_entropy", (X, (X[:, :3] ** 2).argmax(1)))


def test_a_walk_tells_both_ends() -> None:
    about = network()
    found = calclab.descent(about, lr=0.2, steps=600, optimizer="momentum")
    f = about.objective()
    for name, x in (("largest_stable_lr", f.start), ("largest_stable_lr_here", about.flatten(weights(found, about)))):
        λ = float(torch.linalg.eigvalsh(dense_hessian(f.call, x))[-1])
        true = 2 * (1 + part("optimizer", "momentum")["momentum"]) / λ
        assert found[f"{name}_low"] - 1e-9 <= true <= found[f"{name}_high"] + 1e-9
        assert found.bounds[name] <= 0.05 * found[name]
    assert "at the start" in found.sentence


def weights(found: Any, about: Any) -> Any:
    import io

    (content,) = found.files.values()
    return torch.load(io.BytesIO(content), weights_only=True)


def test_adam_is_told_of_where_it_has_moments() -> None:
    found = calclab.descent(network(), lr=0.01, steps=500, optimizer="adam")
    assert "largest_stable_lr" not in found.values
    assert found.largest_stable_lr_here > 0
    assert "38" in found.sentence


def test_a_short_walk_is_spared_the_cost() -> None:
    assert not worth(3000, 1000, 100)
    assert worth(3000, 1000, 500)
    assert not worth(3_000_000, 1000, 500)
    assert "largest_stable_lr_here" not in calclab.descent(network(), lr=0.1, steps=20).values


def test_no_rate_where_nothing_curves_up() -> None:
    f = calclab.function(lambda x: -(x**2).sum(), at=[1.0, 2.0])
    assert edge(f, GradientDescent(), {}, 0.1, f.start, 0) is None
    assert edge(f, GradientDescent(), {}, 0.1, f.start * torch.nan, 0) is None
