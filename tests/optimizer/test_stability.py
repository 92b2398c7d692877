"""The stability ratio against torch.optim itself: on quadratics steps shrink just below 1 and grow just above it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.numerics.linear import LinearOperator
from calclab.optimizer.stability import Frozen, diagonals, frozen
from calclab.second_order.sharpness import scaled

N, K = 7, 3  # entries, of which the first K are a parameter of their own
Make = Callable[[list[Any]], torch.optim.Optimizer]
T = 30  # the step that the corrections of Adam and its like stand at


def plain(kind: type[torch.optim.Optimizer], **knobs: Any) -> Make:
    return lambda parameters: kind(parameters, **knobs)


def grouped(kind: type[torch.optim.Optimizer], first: dict[str, Any], second: dict[str, Any]) -> Make:
    return lambda parameters: kind(
        [{"params": [parameters[0]], **first}, {"params": [parameters[1]], **second}], lr=1.0
    )


RULES: dict[str, Make] = {
    "gradient descent": plain(torch.optim.SGD, lr=0.1),
    "with decay": plain(torch.optim.SGD, lr=0.1, weight_decay=0.5),
    "heavy ball": plain(torch.optim.SGD, lr=0.1, momentum=0.9),
    "heavy ball, damped": plain(torch.optim.SGD, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.2),
    "nesterov": plain(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": plain(torch.optim.Adam, lr=0.01),
    "adam, other betas": plain(torch.optim.Adam, lr=0.01, betas=(0.5, 0.9), eps=0.3, weight_decay=0.4),
    "amsgrad": plain(torch.optim.Adam, lr=0.01, amsgrad=True),
    "adamw": plain(torch.optim.AdamW, lr=0.01, weight_decay=5.0),
    "nadam": plain(torch.optim.NAdam, lr=0.01),
    "nadam, decoupled": plain(torch.optim.NAdam, lr=0.01, weight_decay=3.0, decoupled_weight_decay=True),
    "radam": plain(torch.optim.RAdam, lr=0.01),
    "radam, early": plain(torch.optim.RAdam, lr=0.01, betas=(0.9, 0.999999)),
    "adamax": plain(torch.optim.Adamax, lr=0.01),
    "rmsprop": plain(torch.optim.RMSprop, lr=0.01),
    "rmsprop, centred": plain(torch.optim.RMSprop, lr=0.01, centered=True, momentum=0.7, eps=0.1),
    "adagrad": plain(torch.optim.Adagrad, lr=0.01, lr_decay=0.05, weight_decay=0.1),
    "groups": grouped(
        torch.optim.SGD, {"lr": 0.3, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.2, "weight_decay": 1.0}
    ),
    "a group that stands": grouped(torch.optim.SGD, {"lr": 0.0, "momentum": 0.9}, {"lr": 0.01}),
    "groups of adamw": grouped(
        torch.optim.AdamW,
        {"lr": 0.03, "betas": (0.9, 0.99), "weight_decay": 4.0},
        {"lr": 0.001, "betas": (0.3, 0.9), "eps": 0.5, "weight_decay": 0.1},
    ),
}


def quadratic(seed: int = 0) -> Tensor:
    maker = torch.Generator().manual_seed(seed)
    A = torch.randn(N, N, dtype=torch.float64, generator=maker)
    return A @ A.T + 0.1 * torch.eye(N, dtype=torch.float64)


def moments(p: Tensor, seed: int) -> dict[str, Tensor]:
    """What each rule keeps of a parameter, as it stands after step T."""
    maker = torch.Generator().manual_seed(seed)
    v = 0.1 + torch.rand(p.shape, dtype=p.dtype, generator=maker)
    return {
        "step": torch.tensor(float(T)),
        "exp_avg_sq": v,
        "max_exp_avg_sq": 1.5 * v,
        "exp_inf": v,
        "square_avg": v,
        "grad_avg": 0.5 * v,
        "sum": v,
        "mu_product": torch.tensor(0.5),
    }


def put(optimizer: torch.optim.Optimizer, group: dict[str, Any], p: Tensor, held: dict[str, Tensor]) -> None:
    """The moments that the next step turns into those held, gradients being next to nothing."""
    state, β2 = optimizer.state[p], group.get("betas", (0.0, 1.0))[1]
    fade = {"exp_avg_sq": β2, "exp_inf": β2, "square_avg": group.get("alpha"), "grad_avg": group.get("alpha")}
    for name, value in held.items():
        if name not in state:
            continue
        if name == "step":
            state[name] = value - 1
        elif name == "mu_product":
            β, ψ = group["betas"][0], group["momentum_decay"]
            state[name] = value / (β * (1 - 0.5 * 0.96 ** (T * ψ)))
        else:
            state[name] = (value / (fade.get(name) or 1.0)).clone()


def ratio(H: Tensor, shares: dict[Tensor, Frozen], parameters: list[Tensor]) -> float:
    """λmax, of the matrix itself."""
    found = diagonals(shares, parameters)
    A = LinearOperator((N, N), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)
    return float(torch.linalg.eigvalsh(scaled(A, found.c, found.d, found.sign).dense())[-1])


def growth(make: Make, H: Tensor, factor: float, steps: int = 3000) -> tuple[float, float]:
    """The stability ratio with all rates times ``factor``, and how x grew a step over the second half."""
    parameters = [
        torch.zeros(K, dtype=H.dtype, requires_grad=True),
        torch.zeros(N - K, dtype=H.dtype, requires_grad=True),
    ]
    optimizer = make(parameters)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    held = {p: moments(p, i) for i, p in enumerate(parameters)}
    for group in optimizer.param_groups:
        group["lr"] *= factor
        for p in group["params"]:
            optimizer.state[p].update({k: v.clone() for k, v in held[p].items() if k in optimizer.state[p]})
    felt = ratio(H, frozen(optimizer), parameters)
    with torch.no_grad():
        for p in parameters:
            p.copy_(1e-12 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(5)))
    sizes = []
    for _ in range(steps):
        x = torch.cat([p.detach() for p in parameters])
        sizes.append(float(x.norm()))
        if not 1e-200 < sizes[-1] < 1e-7:
            break
        for group in optimizer.param_groups:
            for p in group["params"]:
                put(optimizer, group, p, held[p])
        g = H @ x
        parameters[0].grad, parameters[1].grad = g[:K].clone(), g[K:].clone()
        optimizer.step()
    half = len(sizes) // 2
    return felt, (sizes[-1] / sizes[half]) ** (1 / (len(sizes) - 1 - half))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_ratio_passes_1_where_steps_begin_to_grow(rule: str) -> None:
    H = quadratic()
    at, _ = growth(RULES[rule], H, 1.0, 3)
    below, above = (growth(RULES[rule], H, factor / at) for factor in (0.97, 1.03))
    assert [below[0], above[0]] == pytest.approx([0.97, 1.03])  # linear in the rates
    assert below[1] < 1 or (rule == "a group that stands" and below[1] < 1 + 1e-9)
    assert above[1] > 1 + 1e-4


def test_published_thresholds() -> None:
    for β in (0.9, 0.5, 0.0):
        assert Frozen(1.0, 1.0, β, 0.0, 1 - β).threshold == pytest.approx((2 + 2 * β) / (1 - β))
    x = torch.nn.Parameter(torch.zeros(2))
    heavy, nesterov = (frozen(torch.optim.SGD([x], lr=0.1, momentum=0.9, nesterov=n))[x] for n in (False, True))
    assert [heavy.threshold, nesterov.threshold] == pytest.approx([3.8, 3.8 / 2.8])


def test_uphill_feels_the_other_end() -> None:
    x = torch.nn.Parameter(torch.zeros(N, dtype=torch.float64))
    H = torch.diag(torch.tensor([-8.0, 1, 1, 1, 1, 1, 2], dtype=torch.float64))
    assert ratio(H, frozen(torch.optim.SGD([x], lr=0.5, maximize=True)), [x]) == pytest.approx(2.0)


def test_what_has_no_ratio_says_what_has() -> None:
    x = torch.nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(UserError, match="no second moments yet"):
        frozen(torch.optim.Adam([x]))
    with pytest.raises(UserError, match="It is known of Adagrad, Adam"):
        frozen(torch.optim.Rprop([x]))

    class Mine(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            pass

    with pytest.raises(UserError, match="Mine has no largest stable rate"):
        frozen(Mine([x]))


def test_parameters_that_never_move_have_no_part() -> None:
    x, still = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    found = diagonals(frozen(torch.optim.SGD([x], lr=0.1)), [x, still])
    assert found.c.tolist()[2] == 0
    assert found.uniform is not None
