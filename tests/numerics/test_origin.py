"""Where numbers stop being finite: the module, the operation and the cause, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from calclab.numerics.origin import origins

NAN, INF = float("nan"), float("inf")


def x(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


FORWARD: dict[str, tuple[Callable[[], Tensor], str, str]] = {
    "log of 0": (lambda: x(1, 0).log().sum(), "log", "the logarithm of 0"),
    "log of a negative number": (lambda: x(1, -2).log().sum(), "log", "the logarithm of a negative number (-2)"),
    "log1p": (lambda: x(-3).log1p().sum(), "log1p", "the logarithm of a negative number (-2)"),
    "root": (lambda: torch.sqrt(x(4, -9)).sum(), "sqrt", "the square root of a negative number (-9)"),
    "exp": (lambda: x(1, 100).exp().sum(), "exp", "the exponential of 100 overflows: float32 ends at exp(88.7)"),
    "0/0": (lambda: (x(0, 1) / x(0, 2)).sum(), "div", "0/0"),
    "1/0": (lambda: (1 / x(0, 2)).sum(), "div", "a division by 0"),
    "by a count": (lambda: x(1, 2).sum() / torch.zeros(3, dtype=torch.bool).sum(), "div", "a division by 0"),
    "by a number": (lambda: (x(1, 2) / 0.0).sum(), "div", "a division by 0"),
    "in place": (lambda: (x(1, 0) * 1).log_().sum(), "log", "the logarithm of 0"),
    "power": (lambda: (x(-1, 0) ** 0.5).sum(), "pow", "a negative number (-1) to the power 0.5"),
    "arc": (lambda: x(0, 1.5).acos().sum(), "acos", "it is defined from -1 to 1, and was given 1.5"),
    "overflow": (lambda: (x(1e30, 1) * 1e20).sum(), "mul", "float32 holds numbers up to 3.4e+38: it overflows"),
    "float16": (
        lambda: (x(300, 1, dtype=torch.float16) ** 2).sum(),
        "pow",
        "float16 holds numbers up to 6.55e+04: it overflows",
    ),
    "a sum": (lambda: x(3e38, 3e38).sum(), "sum", "float32 holds numbers up to 3.4e+38: it overflows"),
    "one number": (lambda: x(3).std(), "std", "the spread of a single number, which has none"),
    "nothing": (lambda: x().mean(), "mean", "the mean of no numbers"),
    "constant rows": (
        lambda: functional.layer_norm(x(2, 2, 2), (3,), eps=0).sum(),
        "layer_norm",
        "0/0: what it normalises does not vary, and nothing (eps) is added to the variance",
    ),
    "all ignored": (
        lambda: functional.cross_entropy(x(1, 2)[None], torch.tensor([-100])),
        "cross_entropy",
        "no row counts (every target is the one that is ignored)",
    ),
    "all masked": (
        lambda: x(1, 2)[None].masked_fill(torch.tensor([[True, True]]), -INF).softmax(1).sum(),
        "softmax",
        "a row of it is -inf throughout (all that it could look at is masked)",
    ),
    "inf - inf": (lambda: (x(1e38) * 10 - x(1e38) * 10).sum(), "mul", "it overflows"),
}


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("case", FORWARD)
def test_the_operation_that_made_it_is_named(case: str) -> None:
    loss, operation, why = FORWARD[case]
    found = origins(None, loss, []).forward
    assert found is not None
    assert found.operation == operation
    assert why in found.why
    assert found.source.startswith("test_origin.py, line ")


BACKWARD: dict[str, tuple[Callable[[Tensor], Tensor], Tensor, str, str]] = {
    "root at 0": (lambda t: t.sqrt().sum(), x(1, 0), "sqrt", "the slope of a square root at 0, which is infinite"),
    "what where hides": (
        lambda t: torch.where(t > 0, t.sqrt(), t).sum(),
        x(1, -1),
        "sqrt",
        "",
    ),
    "root of a variance": (lambda t: t.var().sqrt(), x(2, 2, 2), "sqrt", "which is infinite"),
    "arc": (lambda t: t.acos().sum(), x(0, 1), "acos", "its slope at ±1, which is infinite"),
    "power": (lambda t: (t**0.5).sum(), x(0, 1), "pow", "the slope of a power 0.5 at 0, which is infinite"),
    "overflow": (lambda t: (t * 1e30 * 1e30).sum(), x(1e-30), "mul", "float32 holds numbers up to 3.4e+38"),
}


@pytest.mark.parametrize("case", BACKWARD)
def test_the_operation_whose_slope_is_not_finite_is_named(case: str) -> None:
    loss, at, operation, why = BACKWARD[case]
    found = origins(None, lambda: loss(at), [at])
    assert found.backward is not None
    assert found.backward.operation == operation
    assert why in found.backward.why
    assert found.gradients[0] is not None
    assert not found.gradients[0].isfinite().all()


HEALTHY: dict[str, Callable[[], Tensor]] = {
    "a causal mask": lambda: (x(1, 2, 3)[None] + torch.full((3, 3), -INF).triu(1)).softmax(1).sum(),
    "filled": lambda: x(1, 2)[None].masked_fill(torch.tensor([[True, False]]), -INF).softmax(1).sum(),
    "clamped": lambda: (1 / (x(0, 1).detach() * 1)).clamp(max=5).add(x(1, 1)).sum(),
    "the largest": lambda: x(1, 2).new_full((2,), -INF).maximum(x(1, 2)).sum(),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_infinities_that_reach_no_loss_are_none(case: str) -> None:
    at: list[Tensor] = []
    assert list(origins(None, HEALTHY[case], at)) == [None, None]


class Net(nn.Module):
    """Its second block takes logarithms; what wraps it does not change its name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        self.second = Logarithm()

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(inputs))
        return result


class Logarithm(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - 1e3).log()


class Halved(torch.autograd.Function):
    """A Function of a user's with a gradient that is no number."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs / 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * NAN


class Spoils(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs * NAN

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_the_module_is_named(wrap: Callable[[nn.Module], Any]) -> None:
    net = Net()
    with torch.compiler.set_stance("force_eager"):
        found = origins(wrap(net), lambda: net(torch.ones(4, 2)).sum(), list(net.parameters())).forward
    assert found is not None
    assert found.place == "second (Logarithm)"
    assert found.inputs[0].highest < -900


def test_functions_of_users_are_named() -> None:
    at = x(1, 2)
    assert origins(None, lambda: Halved.apply(at * 3).sum(), [at]).backward.operation == "Halved"  # type: ignore
    forward = origins(None, lambda: (Spoils.apply(at * 3) + 1).sum(), [at]).forward
    assert forward is not None
    assert forward.operation == "mul"  # what it computes inside is seen


def test_nothing_is_left_on_modules() -> None:
    net = Net()
    origins(net, lambda: net(torch.ones(4, 2)).sum(), list(net.parameters()))
    hooks = (nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks)
    assert not any(hooks)
    assert all(p.grad is None for p in net.parameters())


def test_an_error_within_leaves_nothing_either() -> None:
    net = Net()
    with pytest.raises(RuntimeError):
        origins(net, lambda: net(torch.ones(4, 3)).sum(), list(net.parameters()))
    assert not nn.modules.module._global_forward_pre_hooks


def test_the_largest_activation_is_known() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(3.0)
    found = origins(net, lambda: net(torch.ones(1, 2)).sum(), list(net.parameters()))
    assert (found.largest.value, found.largest.module) == (57.0, "1")  # 2 · 3 · 9 + 3
    assert found.loss == 114.0
