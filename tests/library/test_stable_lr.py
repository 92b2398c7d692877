"""The largest stable rate against the boundary that real steps of torch.optim show."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.errors import UserError
from calclab.optimizer.stability import diagonals, frozen
from calclab.second_order.held import Held
from calclab.second_order.sharpness import scaled, sharpness

Make = Callable[[Any], torch.optim.Optimizer]
SGD, Adam = torch.optim.SGD, torch.optim.Adam


def line() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A quadratic: least squares of a linear map, at its minimum but for a little."""
    torch.manual_seed(0)
    X = torch.randn(40, 6).double() * torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0]).double()
    model = nn.Linear(6, 1, bias=False).double()
    Y = X @ model.weight.detach().T
    with torch.no_grad():
        model.weight += 1e-3 * torch.randn(1, 6).double()
    return model, (X, Y)


def grows(model: nn.Module, rows: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer, steps: int) -> bool:
    """Whether the loss of a quadratic has grown after so many steps of a copy."""
    twin, rule = copy.deepcopy((model, optimizer))
    first = None
    for _ in range(steps):
        rule.zero_grad()
        loss = nn.functional.mse_loss(twin(rows[0]), rows[1])
        first = loss.item() if first is None else first
        loss.backward()
        rule.step()
        if not loss.item() < 1e6 * first:
            return True
    return loss.item() > first  # type: ignore[operator]


RULES: dict[str, Make] = {
    "gd": lambda p: SGD(p, lr=0.1),
    "decay": lambda p: SGD(p, lr=0.1, weight_decay=2.0),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "damped": lambda p: SGD(p, lr=0.1, momentum=0.7, dampening=0.5),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_sweep_on_a_quadratic_finds_the_same_boundary(rule: str) -> None:
    model, rows = line()
    if rule == "decay":  # what decays to 0 has its minimum there
        rows = rows[0], 0 * rows[1]
    optimizer = RULES[rule](model.parameters())
    found = calclab.stable_lr(model, nn.MSELoss(), rows, optimizer)
    swept = found.largest_stable_lr * torch.logspace(-0.2, 0.2, 14, base=10)
    stable = []
    for lr in swept.tolist():
        optimizer.param_groups[0]["lr"] = lr
        stable.append(not grows(model, rows, optimizer, 700))
    assert stable == sorted(stable, reverse=True)
    boundary = float(swept[sum(stable) - 1 : sum(stable) + 1].mean())
    assert boundary == pytest.approx(found.largest_stable_lr, rel=0.05)
    assert found.bounds["largest_stable_lr"] < 1e-3 * found.largest_stable_lr


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_with_second_moments_that_hardly_move(kind: str) -> None:
    """β₂ so near to 1 that the moments put in stay for the sweep."""
    model, rows = line()
    w = model.weight
    v = torch.linspace(0.5, 4, 6).double()[None]
    if kind == "adam":
        optimizer: torch.optim.Optimizer = Adam(model.parameters(), lr=0.01, betas=(0.9, 1 - 1e-12))
        state = {"step": torch.tensor(1e8), "exp_avg": torch.zeros_like(w), "exp_avg_sq": v * 1e-4}
    else:
        optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, alpha=1 - 1e-12)
        state = {"step": torch.tensor(1.0), "square_avg": v}
    optimizer.state[w].update(state)
    found = calclab.stable_lr(model, nn.MSELoss(), rows, optimizer, ahead=0)
    for factor, expected in ((0.95, False), (1.05, True)):
        optimizer.param_groups[0]["lr"] = factor * found.largest_stable_lr
        assert grows(model, rows, optimizer, 3000) is expected


def test_adam_settles_at_its_edge() -> None:
    """On a quadratic Adam ends where the stability ratio hovers about 1 (Cohen et al. 2022, section 3)."""
    model, rows = line()
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    ratios = []
    for k in range(6000):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(rows[0]), rows[1])
        loss.backward()
        optimizer.step()
        if k >= 3000 and k % 20 == 0:
            felt = diagonals(frozen(optimizer), [model.weight])  # type: ignore[list-item]
            loss = nn.functional.mse_loss(model(rows[0]), rows[1])
            ratios.append(float(sharpness(scaled(Held(loss, [model.weight]).hessian, felt.c, felt.d)).value))  # type: ignore[list-item]
    assert float(torch.tensor(ratios).median()) == pytest.approx(1, rel=0.1)


# --- one step of a network ---


def mlp() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    torch.manual_seed(3)
    X = torch.randn(60, 4).double()
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, (X, (X[:, :3] ** 2).argmax(1))


def stepped(model: nn.Module, rows: tuple[Tensor, Tensor], make: Make, θ: Tensor) -> Tensor:
    """Where one real step of an optimizer goes from θ (n,)."""
    twin = copy.deepcopy(model)
    nn.utils.vector_to_parameters(θ, twin.parameters())
    rule = make(twin.parameters())
    nn.functional.cross_entropy(twin(rows[0]), rows[1]).backward()
    rule.step()
    return nn.utils.parameters_to_vector(twin.parameters()).detach()


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_one_step_of_a_network_turns_over_at_it(factor: float) -> None:
    """Two starts that differ by a little: a step multiplies the difference by I - lr H, whose lowest eigenvalue passes
    -1 at the rate told. Measured by real steps of torch.optim.SGD from so many starts."""
    model, rows = mlp()
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, SGD(model.parameters(), lr=0.1))
    lr, ε = factor * found.largest_stable_lr, 1e-6
    θ = nn.utils.parameters_to_vector(model.parameters()).detach()
    columns = []
    for e in torch.eye(len(θ)).double():
        ends = [stepped(model, rows, lambda p: SGD(p, lr=lr), θ + sign * ε * e) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * ε))
    lowest = float(torch.linalg.eigvals(torch.stack(columns, 1)).real.min())
    assert (lowest < -1) is (factor > 1)
    assert lowest == pytest.approx(1 - 2 * factor, abs=0.02)


def test_the_loss_of_one_step_turns_where_it_says_on_a_quadratic() -> None:
    model, rows = line()
    found = calclab.stable_lr(model, nn.MSELoss(), rows, SGD(model.parameters(), lr=0.1))
    assert found.one_step_lr >= found.largest_stable_lr - 1e-9
    optimizer = SGD(model.parameters(), lr=0.0)
    for factor in (0.99, 1.01):
        optimizer.param_groups[0]["lr"] = factor * found.one_step_lr
        assert grows(model, rows, optimizer, 2) is (factor > 1)


def test_later_is_what_a_training_finds_there() -> None:
    model, rows = mlp()
    make: Make = lambda p: SGD(p, lr=0.5, momentum=0.5)  # noqa: E731
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, make(model.parameters()), ahead=30)
    optimizer = make(model.parameters())
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(rows[0]), rows[1]).backward()
        optimizer.step()
    then = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, optimizer, ahead=0)
    assert found.later_lr == pytest.approx(then.largest_stable_lr, rel=1e-6)
    assert found.later_lr != pytest.approx(found.largest_stable_lr, rel=0.01)


def test_batches_have_their_own_sharpness() -> None:
    model, (X, Y) = mlp()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=20)
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), loader, SGD(model.parameters(), lr=0.1))
    whole = calclab.stable_lr(model, nn.CrossEntropyLoss(), (X, Y), SGD(model.parameters(), lr=0.1))
    assert found.largest_stable_lr == pytest.approx(whole.largest_stable_lr, rel=1e-6)  # three batches are all rows
    assert found.batch_sharpness > 0
    assert found.bounds["batch_sharpness"] > 0


# --- what is left as it was, and what is refused ---


def test_a_training_is_left_as_it_was() -> None:
    model, rows = mlp()
    model.insert(1, nn.BatchNorm1d(5).double())  # type: ignore[operator]
    optimizer = Adam(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model(rows[0]), rows[1]).backward()
    optimizer.step()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, optimizer)
    assert found.largest_stable_lr > 0
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), model.state_dict().values(), strict=True))
    assert str(before[1]) == str(optimizer.state_dict())
    assert torch.equal(before[2], torch.get_rng_state())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True) if p.grad is not None)


def test_a_fresh_adaptive_rule_steps_first() -> None:
    model, rows = mlp()
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, Adam(model.parameters(), lr=0.01), ahead=15)
    assert "after 15 steps" in found.headline
    with pytest.raises(UserError, match="no second moments yet"):
        calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, Adam(model.parameters()), ahead=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: torch.optim.Rprop(p), "It is known of Adagrad"),
        (lambda p: torch.optim.LBFGS(p), "LBFGS has no largest stable rate"),
        (lambda p: SGD(p, lr=0.0), "it never moves"),
        (lambda p: SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1), "trains none"),
        (lambda p: None, "optimizer is missing"),
    ],
)
def test_refusals(make: Make, words: str) -> None:
    model, rows = mlp()
    with pytest.raises(UserError, match=words):
        calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, make(model.parameters()))


def test_no_data_and_no_finite_loss() -> None:
    model, (X, Y) = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="data is missing"):
        calclab.stable_lr(model, nn.CrossEntropyLoss(), None, optimizer)
    with pytest.raises(UserError, match="not finite"):
        calclab.stable_lr(model, nn.CrossEntropyLoss(), (X * float("nan"), Y), optimizer)


def test_a_loss_that_only_falls_has_no_rate_that_is_too_large() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    found = calclab.stable_lr(
        model, None, (torch.eye(2).double(), torch.zeros(2)), SGD(model.parameters(), lr=0.1), loss=falls
    )
    assert "no lr is too large" in found.headline


def falls(model: nn.Module, batch: Any) -> Tensor:
    return -sum((p**2).sum() for p in model.parameters())  # type: ignore[return-value]


def test_it_can_be_saved_and_read_like_any_result(tmp_path: Any) -> None:
    model, rows = mlp()
    found = calclab.stable_lr(model, nn.CrossEntropyLoss(), rows, SGD(model.parameters(), lr=0.1))
    assert found.verdict == "consistent"
    assert "largest stable lr" in repr(found)
    saved = found.save(tmp_path / "rate")
    assert (saved / "outcome.json").exists()
