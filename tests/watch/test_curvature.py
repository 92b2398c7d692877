"""What the watch reads of curvature is that of the batch, held against the whole matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.optimizer.stability import diagonals, frozen

Batch = tuple[Tensor, Tensor]


def rows(count: int, size: int = 16) -> list[Batch]:
    made = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, size, 5, generator=made, dtype=torch.float64)
    return [(x, (x[:, :3] ** 2).argmax(1)) for x in inputs]


def mlp(*parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), *(parts or (nn.Tanh(),)), nn.Linear(7, 3)).double()


def matrix(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """H (n, n) and g (n,) by the trainable parameters, row by row."""
    leaves = [p for p in model.parameters() if p.requires_grad]
    g = torch.autograd.grad(loss(), leaves, create_graph=True)
    flat = torch.cat([part.flatten() for part in g])
    found = []
    for entry in flat:
        row = torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if r is None else r for p, r in zip(leaves, row, strict=True)]
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found), flat.detach()


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, quantities: Sequence[str], steps: int = 6, **known: Any
) -> tuple[calclab.Watch, list[Batch]]:
    criterion, batches = nn.CrossEntropyLoss(), rows(steps)
    watch = calclab.Watch(model, criterion, optimizer, every=steps, budget=None, quantities=quantities, **known)
    for x, y in batches:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        watch.step((x, y))
    watch.close()
    assert not watch.events, watch.events
    return watch, batches


def read(watch: calclab.Watch) -> dict[str, tuple[float, float]]:
    frame = watch.values
    return dict(zip(frame.name, zip(frame.value, frame.error, strict=True), strict=True))


@pytest.mark.parametrize("parts", [(nn.Tanh(),), (nn.ReLU(),), (nn.BatchNorm1d(7), nn.Tanh())], ids=str)
def test_sharpness_is_of_the_batch_as_it_is_trained_on(parts: tuple[nn.Module, ...]) -> None:
    model = mlp(*parts)
    watch, batches = train(model, torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.8), ["sharpness", "blocks"])
    x, y = batches[-1]
    H, _ = matrix(model, lambda: nn.functional.cross_entropy(model(x), y))
    true = float(torch.linalg.eigvalsh(H)[-1])
    found = read(watch)
    value, bound = found["curvature/sharpness"]
    assert true - 1e-9 <= value + bound <= 1.02 * true
    assert abs(value - true) <= 0.01 * true
    ratio = found["curvature/stability_ratio"][0]
    assert ratio == pytest.approx(0.2 * value / 3.6)
    assert found["curvature/largest_stable_rate"][0] == pytest.approx(0.2 / ratio)
    first = float(torch.linalg.eigvalsh(H[:42, :42])[-1])
    assert abs(found["layers/sharpness/0"][0] - first) <= 0.01 * first
    parted = [value for name, (value, _) in found.items() if name.startswith("layers/curvature_share/")]
    assert sum(parted) == pytest.approx(1)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam])
def test_the_ratio_of_adaptive_rules_is_from_their_own_moments(kind: Any) -> None:
    model = mlp()
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1)
    watch, batches = train(model, optimizer, ["preconditioned", "sharpness"])
    x, y = batches[-1]
    H, _ = matrix(model, lambda: nn.functional.cross_entropy(model(x), y))
    felt = diagonals(frozen(optimizer), list(model.parameters()))
    true = float(torch.linalg.eigvalsh(felt.c[:, None] * H * felt.c + torch.diag(felt.d))[-1])
    value, bound = read(watch)["curvature/stability_ratio"]
    assert true - 1e-9 <= value + bound
    assert abs(value - true) <= 0.01 * true
    if kind is torch.optim.AdamW:  # Cohen et al. 2022: λmax(P^-½ H P^-½), P with both corrections
        v = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()])
        P = (1 - 0.9**6) * ((v / (1 - 0.999**6)).sqrt() + 1e-8)
        λ = float(torch.linalg.eigvalsh(H / P.sqrt() / P.sqrt()[:, None])[-1])
        assert read(watch)["curvature/preconditioned_sharpness"][0] == pytest.approx(λ, rel=0.01)
        assert felt.uniform is not None
        assert felt.uniform.threshold == pytest.approx(38)


def test_batch_sharpness_is_where_the_step_began() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    criterion, batches = nn.CrossEntropyLoss(), rows(4)
    true = []
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["batch_sharpness"]) as watch:
        for x, y in batches:
            H, g = matrix(model, lambda: criterion(model(x), y))  # noqa: B023  called at once
            true.append(float(g @ H @ g / (g @ g)))
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            watch.step((x, y))
    frame = watch.values
    assert frame.value[frame.name == "curvature/along_gradient"].tolist() == pytest.approx(true)
    mean = frame[frame.name == "curvature/batch_sharpness"].iloc[-1]
    assert mean.value == pytest.approx(sum(true) / 4)
    assert mean.error == pytest.approx(float(torch.tensor(true).std()) / 2)
    ratio = frame[frame.name == "curvature/batch_stability_ratio"].iloc[-1]
    assert ratio.value == pytest.approx(0.1 * mean.value)


def test_parameters_that_stand_still_have_no_part() -> None:
    model = mlp()
    model[0].bias.requires_grad_(False)  # type: ignore[index]
    groups = [{"params": [model[0].weight], "lr": 0.0}, {"params": list(model[2].parameters()), "lr": 0.3}]  # type: ignore[index]
    watch, batches = train(model, torch.optim.SGD(groups, lr=0.1), ["preconditioned", "sharpness"])
    x, y = batches[-1]
    H, _ = matrix(model, lambda: nn.functional.cross_entropy(model(x), y))
    last = float(torch.linalg.eigvalsh(H[35:, 35:])[-1])
    found = read(watch)
    assert found["curvature/stability_ratio"][0] == pytest.approx(0.15 * last, rel=0.01)
    assert found["layers/curvature_share/0"][0] == pytest.approx(0, abs=1e-12)
    assert found["curvature/largest_stable_rate"][0] == pytest.approx(2 / last, rel=0.01)


def test_dropout_draws_once_and_the_training_is_as_without() -> None:
    def run(looks: Sequence[str]) -> list[Tensor]:
        model = mlp(nn.BatchNorm1d(7), nn.Dropout(0.3), nn.Tanh())
        if looks:
            train(model, torch.optim.Adam(model.parameters(), lr=0.01), looks)
        else:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for x, y in rows(6):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        return [*model.state_dict().values(), torch.randn(3)]

    looks = ["sharpness", "preconditioned", "batch_sharpness", "blocks", "spectrum"]
    assert all(map(torch.equal, run(looks), run([])))


def test_a_rule_of_no_known_edge_still_has_its_sharpness() -> None:
    model = mlp()
    watch, _ = train(model, torch.optim.Rprop(model.parameters(), lr=0.01), ["sharpness", "preconditioned"])
    found = read(watch)
    assert "curvature/sharpness" in found
    assert "curvature/stability_ratio" not in found


def test_the_spectrum_is_that_of_the_matrix() -> None:
    model = mlp()
    watch, batches = train(model, torch.optim.SGD(model.parameters(), lr=0.2), ["spectrum"])
    x, y = batches[-1]
    H, _ = matrix(model, lambda: nn.functional.cross_entropy(model(x), y))
    λ = torch.linalg.eigvalsh(H).flip(0)
    found = read(watch)
    trace, half = found["curvature/trace"]
    assert abs(trace - float(λ.sum())) <= 2 * half
    for i in range(5):
        value, residual = found[f"curvature/eigenvalue/{i + 1}"]
        assert abs(value - float(λ[i])) <= residual + 1e-9


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_along_a_training_every_look_is_near_or_says_so(kind: str) -> None:
    """The short form of tests/benchmark/watch_curvature.py: against the whole matrix, at 20 of 20 looks."""
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9),
        "adam": lambda: torch.optim.Adam(model.parameters(), lr=0.02),
    }[kind]()
    looks = ["sharpness"] if kind == "sgd" else ["preconditioned"]
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=looks) as watch:
        for x, y in rows(20, 64):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            watch.step((x, y))
            H, _ = matrix(model, lambda: criterion(model(x), y))  # noqa: B023  called at once
            felt = diagonals(frozen(optimizer), list(model.parameters()))
            true = float(torch.linalg.eigvalsh(felt.c[:, None] * H * felt.c + torch.diag(felt.d))[-1])
            value, bound = read(watch)["curvature/stability_ratio"]
            assert value <= true * (1 + 1e-9)
            assert true <= value + bound + 1e-9
            assert abs(value - true) <= 0.01 * true or bound > 0.01 * value
            assert abs(value - true) <= 0.1 * true


def test_an_accumulated_step_is_of_all_its_batches() -> None:
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer, parts = torch.optim.SGD(model.parameters(), lr=0.1), rows(2)
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["sharpness"]) as watch:
        for x, y in parts:
            (criterion(model(x), y) / 2).backward()
        optimizer.step()
        watch.step(parts)
    H, _ = matrix(model, lambda: sum(criterion(model(x), y) for x, y in parts) / 2)  # type: ignore[arg-type,return-value]
    true = float(torch.linalg.eigvalsh(H)[-1])
    assert read(watch)["curvature/sharpness"][0] == pytest.approx(true, rel=0.01)


def test_half_precision_is_looked_at_with_its_noise() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).bfloat16()
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss()
    x, y = torch.randn(32, 5).bfloat16(), torch.randint(0, 3, (32,))
    criterion(model(x), y).backward()
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["sharpness"]) as watch:
        optimizer.step()
        watch.step((x, y))
    exact = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    exact.load_state_dict(model.state_dict())
    H, _ = matrix(exact, lambda: criterion(exact(x.double()), y))
    value, bound = read(watch)["curvature/sharpness"]
    assert abs(value - float(torch.linalg.eigvalsh(H)[-1])) <= bound


def test_a_loss_that_left_the_finite_numbers_has_no_curvature() -> None:
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer, (x, y) = torch.optim.Adam(model.parameters(), lr=0.1), rows(1)[0]
    looks = ["sharpness", "preconditioned", "batch_sharpness"]
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=looks) as watch:
        for scale in (1.0, float("nan"), 1.0):
            optimizer.zero_grad()
            criterion(model(scale * x), y).backward()
            optimizer.step()
            watch.step((scale * x, y))
    values = watch.values[watch.values.name == "curvature/sharpness"].value.tolist()
    assert [value == value for value in values] == [True, False, False]
    assert not watch.events


def test_a_ratio_that_comes_near_between_two_looks_is_known_well_at_once() -> None:
    model, criterion = mlp(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    bounds = []
    with calclab.Watch(model, criterion, optimizer, every=1, budget=None, quantities=["sharpness"]) as watch:
        for lr, (x, y) in zip((1e-3, 1e-3, 1e-3, 5.0), rows(4, 64), strict=True):
            optimizer.param_groups[0]["lr"] = lr
            criterion(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.step((x, y))
            value, bound = read(watch)["curvature/stability_ratio"]
            bounds.append(bound / value)
    assert value > 0.5
    assert bounds[-1] < 0.01 < bounds[2]
