"""`calclab.check`: right derivatives are consistent, wrong ones refuted with place and cause."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import calclab

X = torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64)


def cubic(x: Tensor) -> Tensor:
    return (x**3).sum() + x[0] * x[1]


def right(x: Tensor) -> Tensor:
    return 3 * x**2 + torch.stack([x[1], x[0], 0 * x[2]])


def test_autograd_is_right() -> None:
    found = calclab.check(cubic, X)
    assert found.right
    assert found.verdict == "consistent"
    assert {"gradient", "second derivative", "forward mode"} <= set(found.evidence["quantity"])


def test_a_right_gradient_is_right() -> None:
    assert calclab.check(cubic, X, gradient=right).verdict == "consistent"
    assert calclab.check(cubic, X, gradient=right(X)).verdict == "consistent"


@pytest.mark.parametrize("size", [2e-6, 1e-4, 0.5])
@pytest.mark.parametrize("entry", [0, 1, 2])
def test_one_wrong_entry_is_found_and_named(size: float, entry: int) -> None:
    def wrong(x: Tensor) -> Tensor:
        g = right(x)
        g[entry] *= 1 + size
        return g

    found = calclab.check(cubic, X, gradient=wrong)
    assert found.verdict == "refuted"
    assert found.place == f"∂f/∂x[{entry}]"
    assert abs(found.given / found.measured - 1 - size) < 1e-2 * size


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (lambda x: 2 * right(x), "factor 2"),
        (lambda x: -right(x), "sign"),
        (lambda x: 0 * x, "detached"),
        (lambda x: right(x).flip(0), "reverse order"),
        (lambda x: right(x) + 0.1 * x, "0.1·x"),
        (lambda x: 3 * x**2, "missing"),
        (lambda x: right(X), "stale"),
        (lambda x: torch.where(x < 0, 1.001 * right(x), right(x)), "only"),
    ],
)
def test_the_cause_is_told(wrong: object, cause: str) -> None:
    found = calclab.check(cubic, X, gradient=wrong)
    assert found.verdict == "refuted"
    assert cause in found.cause


def test_a_branch_that_only_other_signs_take_is_found() -> None:
    found = calclab.check(cubic, X.abs(), gradient=lambda x: torch.where(x < 0, 1.001 * right(x), right(x)))
    assert found.verdict == "refuted"
    assert "only wrong for some inputs" in found.cause
    assert " at x = [" in found.worst.where


def test_a_kink_refutes_nothing() -> None:
    found = calclab.check(lambda x: torch.relu(x).sum(), torch.tensor([0.0, 1.0]))
    assert found.verdict == "undefined"
    assert found.place == "∂f/∂x[0]"
    found.raise_if_wrong()


def test_a_function_of_arrays() -> None:
    x = np.array([1.0, 2.0])
    assert calclab.check(lambda x: (x**2).sum(), x, gradient=lambda x: 2 * x).verdict == "consistent"
    assert calclab.check(lambda x: (x**2).sum(), x, gradient=lambda x: 3 * x).verdict == "refuted"


def test_the_message_reads() -> None:
    with pytest.raises(calclab.WrongDerivativeError) as caught:
        calclab.check(cubic, X, gradient=lambda x: 2 * right(x)).raise_if_wrong()
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == "the gradient given is wrong"
    assert [line.split()[0] for line in lines[2:]][:6] == ["verdict", "place", "given", "measured", "because", "cause"]


@pytest.mark.parametrize(
    ("f", "at"),
    [
        (cubic, torch.tensor([1, 2, 3])),
        (lambda x: "text", X),
        (lambda x: x[7], X),
        (lambda x: x[:0], X),
    ],
)
def test_what_has_no_derivative_is_a_mistake(f: object, at: Tensor) -> None:
    with pytest.raises(calclab.UserError):
        calclab.check(f, at)


def test_a_gradient_of_another_shape_is_a_mistake() -> None:
    with pytest.raises(calclab.UserError, match="3 numbers"):
        calclab.check(cubic, X, gradient=X[:2])
