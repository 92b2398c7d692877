"""What each step shows, against its definition, and however blocks fall."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.drive import advance, begin, drive
from calclab.optimizer.rules import Momentum
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def topic(n: int = 2) -> Descent:
    expr = "sum(i, 0, n - 2, (x[i + 1] - x[i]**2)**2 + (1 - x[i])**2)"
    f = formula(name="valley", expr=expr, n=n, at=[-0.5, 0.5], minima=[[1.0]], **PLACE)
    rule = Momentum(momentum=0.5)
    return Descent(
        subject=f,
        optimizer=rule,
        lr=0.01,
        steps=60,
        tol=0.0,
        batch=None,
        epochs=None,
        sharpness={"every": 7},
        watch=None,
        animation=None,
        evidence="full",
        flow=None,
    )


@pytest.fixture(params=[2, 5, 130])
def walked(request: pytest.FixtureRequest) -> tuple[Descent, dict[str, Any]]:
    one, memory = topic(request.param), MemorySink()
    drive(one, [memory])
    return one, dict(memory.columns)


def path(one: Descent) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and gradients, walked by hand."""
    x, v, xs, gs = one.function.start, torch.zeros_like(one.function.start), [], []
    for _ in range(one.steps + 1):
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(one.function.call(leaf), leaf)
        xs.append(x)
        gs.append(g)
        v = 0.5 * v + g
        x = x - 0.01 * v
    return torch.stack(xs), torch.stack(gs)


def test_columns_are_what_they_are_called(walked: tuple[Descent, dict[str, Any]]) -> None:
    one, columns = walked
    x, g = path(one)
    s, b = x.diff(dim=0), g[:-1]
    expected = {
        "gradient_norm": g.norm(dim=1),
        "step_length": torch.cat([torch.zeros(1), s.norm(dim=1)]),
        "cosine": -(s * b).sum(1) / s.norm(dim=1) / b.norm(dim=1),
        "curvature": (s * g.diff(dim=0)).sum(1) / (s * s).sum(1),
        "contraction": g[1:].norm(dim=1) / b.norm(dim=1),
    }
    if len(one.function.start) <= 100:
        expected["distance_to_minimum"] = (x - 1).norm(dim=1)
    for name, values in expected.items():
        assert torch.allclose(columns[name].data, values, rtol=1e-9, atol=1e-12), name
        assert columns[name].steps[0] == int(name in ("cosine", "curvature", "contraction"))


def test_rows_do_not_depend_on_how_blocks_fall(walked: tuple[Descent, dict[str, Any]]) -> None:
    one, columns = walked
    memory, scan, sizes = MemorySink(), begin(one), [1, 2, 3, 1, 17, 64]
    for size in sizes:
        scan = advance(one, scan, size, [memory])
    for name, column in columns.items():
        assert torch.equal(memory.columns[name].data, column.data), name


def test_sharpness_is_the_largest_eigenvalue(walked: tuple[Descent, dict[str, Any]]) -> None:
    one, columns = walked
    x, _ = path(one)
    assert list(columns["sharpness"].steps) == list(range(0, 61, 7))
    for k, value, residual, edge in zip(
        *(columns["sharpness"].steps, *(columns[name].data for name in ("sharpness", "sharpness_residual", "edge"))),
        strict=True,
    ):
        H = torch.autograd.functional.hessian(one.function.call, x[k])
        λ = torch.linalg.eigvalsh(H)
        assert (value - λ).abs().min() <= residual + 1e-9 * λ[-1]  # a residual bounds the way to some eigenvalue
        assert abs(value - λ[-1]) <= 1e-2 * λ[-1]
        assert abs(edge - value * 0.01 / 2) <= 1e-12 * value
