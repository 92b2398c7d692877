"""Right and wrong derivatives for `check_table.py`: functions of tensors whose autograd is right, or is not.

A custom function is a value and its pullback; the wrong ones have that pullback tampered with. Where an error is said to
be of the second order, the first derivative is right to the last bit.
"""
# ruff: noqa: E501  a table has a line a case

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own habit
from torch import Tensor

Pull = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    name: str
    call: Callable[..., Any]
    inputs: tuple[Tensor, ...]


def custom(value: Callable[..., Tensor], pull: Pull) -> Callable[..., Tensor]:
    """``value`` with ``pull(g, *inputs)`` for its backward pass."""

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            ctx.save_for_backward(*inputs)
            return value(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
            return pull(g, *ctx.saved_tensors)

    return lambda *inputs: Custom.apply(*inputs)


def draw(*shape: int, seed: int = 0, positive: bool = False) -> Tensor:
    maker = torch.Generator().manual_seed(seed + 100 * len(shape))
    found = torch.randn(*shape, generator=maker, dtype=torch.float64)
    return found.abs() + 0.2 if positive else found


def pulled(value: Callable[..., Tensor]) -> Pull:
    """The right pullback, by torch's own operations; differentiable."""

    def pull(g: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [x if x.requires_grad else x.detach().requires_grad_() for x in inputs]
            return torch.autograd.grad(value(*leaves), leaves, g, create_graph=torch.is_grad_enabled())

    return pull


A, S, P = draw(3, 3), draw(4, seed=1), draw(4, seed=2, positive=True)
BASES: dict[str, tuple[Callable[..., Tensor], Pull, tuple[Tensor, ...]]] = {
    "exp": (torch.exp, lambda g, x: (g * x.exp(),), (S,)),
    "tanh": (torch.tanh, lambda g, x: (g * (1 - x.tanh() ** 2),), (S,)),
    "cube": (lambda x: x**3, lambda g, x: (3 * g * x**2,), (S,)),
    "sin": (torch.sin, lambda g, x: (g * x.cos(),), (S,)),
    "log": (torch.log, lambda g, x: (g / x,), (P,)),
    "softplus": (lambda x: (1 + x.exp()).log(), lambda g, x: (g * x.sigmoid(),), (S,)),
    "reciprocal": (lambda x: 1 / x, lambda g, x: (-g / x**2,), (P,)),
    "product": (lambda x, y: x * y, lambda g, x, y: (g * y, g * x), (S, P)),
    "quotient": (lambda x, y: x / y, lambda g, x, y: (g / y, -g * x / y**2), (S, P)),
    "matmul": (lambda a, b: a @ b, lambda g, a, b: (g @ b.T, a.T @ g), (draw(2, 3, seed=3), draw(3, 4, seed=4))),
    "quadratic form": (lambda x: x @ (A @ x), lambda g, x: (g * ((A + A.T) @ x),), (draw(3, seed=5),)),
    "logsumexp": (lambda x: x.exp().sum().log(), lambda g, x: (g * x.softmax(0),), (S,)),
    "norm": (lambda x: (x * x).sum().sqrt(), lambda g, x: (g * x / (x * x).sum().sqrt(),), (S,)),
    "det": (torch.det, lambda g, a: (g * torch.det(a) * torch.inverse(a).T,), (A,)),
    "inverse": (torch.inverse, lambda g, a: (-torch.inverse(a).T @ g @ torch.inverse(a).T,), (A,)),
    "softmax": (
        lambda x: x.softmax(0),
        lambda g, x: (x.softmax(0) * (g - (g * x.softmax(0)).sum()),),
        (S,),
    ),
    "mean squares": (lambda x: (x * x).mean(), lambda g, x: (2 * g * x / x.numel(),), (draw(2, 5, seed=6),)),
    "cumsum": (lambda x: x.cumsum(0), lambda g, x: (g.flip(0).cumsum(0).flip(0),), (S,)),
    "outer": (torch.outer, lambda g, x, y: (g @ y, x @ g), (S, draw(3, seed=7))),
    "bias": (lambda x, b: x.tanh() + b, lambda g, x, b: (g * (1 - x.tanh() ** 2), g.sum(0)), (draw(3, 2, seed=8), draw(2))),
}  # fmt: skip


def base(name: str) -> Case:
    value, pull, inputs = BASES[name]
    return Case(f"{name}, by hand", custom(value, pull), inputs)


def tampered(name: str, what: str, change: Callable[[list[Tensor], Sequence[Tensor]], list[Tensor]]) -> Case:
    """A base with the gradients that it gives changed."""
    value, pull, inputs = BASES[name]

    def wrong(g: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
        return tuple(change(list(pull(g, *xs)), xs))

    return Case(f"{name}: {what}", custom(value, wrong), inputs)


def factor(name: str, c: float) -> Case:
    return tampered(name, f"times {c:.10g}", lambda gs, xs: [g * c for g in gs])


def one_entry(name: str, c: float, at: int = 1) -> Case:
    def change(gs: list[Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
        mask = torch.ones_like(gs[0]).reshape(-1)
        mask[at] = c
        return [gs[0] * mask.reshape(gs[0].shape), *gs[1:]]

    return tampered(name, f"one entry times {c:.10g}", change)


def second(name: str, size: float) -> Case:
    """Right to the first order; the second is off by a smooth function's slope times ``size``."""

    def change(gs: list[Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
        return [g + size * ((g * x).cos() - (g * x).cos().detach()) for g, x in zip(gs, xs, strict=True)]

    return tampered(name, f"second order off by {size:g}", change)


def detached(name: str) -> Case:
    return tampered(name, "no second order", lambda gs, xs: [g.detach() + 0 * g for g in gs])


def where(name: str, what: str, c: float, when: Callable[[Tensor], Tensor]) -> Case:
    def change(gs: list[Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
        return [torch.where(when(x), c * g, g) for g, x in zip(gs, xs, strict=True)]

    return tampered(name, f"times {c:.10g} where {what}", change)


# --- public faults of torch ---


def old_softplus(x: Tensor) -> Tensor:
    """torch before 1.9 asked output·β > threshold in the backward pass (issue 55587)."""
    pull = custom(
        lambda x: F.softplus(x, 3.0, 1.0),
        lambda g, x: (torch.where(F.softplus(x, 3.0, 1.0) * 3 > 1, g, g * (3 * x).sigmoid()),),
    )
    return pull(x)


def old_det(x: Tensor) -> Tensor:
    """torch 1.11 gave 0 for the gradient of a singular matrix (issue 80761)."""
    return custom(torch.det, lambda g, a: (torch.zeros_like(a) if bool(torch.det(a) == 0) else g * torch.det(a) * torch.inverse(a).T,))(x)  # fmt: skip


def old_prod(x: Tensor) -> Tensor:
    """The gradient of prod with two zeros needed none itself (issue 106789)."""
    return custom(torch.prod, lambda g, x: (g * torch.stack([x[x.new_tensor(range(len(x))) != i].prod() for i in range(len(x))]).detach(),))(x)  # fmt: skip


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    """A double backward of weight norm that takes the norm for a constant."""

    def pull(u: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        n = v.norm()
        dot = (u * v).sum()
        return g * (u / n - v * (dot / n**3).detach() - v.detach() * 0), dot / n

    return custom(lambda v, g: v * (g / v.norm()), pull)(v, g)


def layer_norm_bias(x: Tensor, b: Tensor) -> Tensor:
    """Double backward without a weight and with a bias (issue 79705, open)."""
    return torch.native_layer_norm(x, (3,), None, b, 1e-5)[0]


def ste(x: Tensor) -> Tensor:
    return custom(lambda x: (4 * x).round() / 4, lambda g, x: (g,))(x)


SIZES = (2e-6, 1e-5, 1e-4, 1e-3, 0.1)
WRONG = [
    *(factor(name, 1 + size) for name, size in zip(("exp", "tanh", "cube", "sin", "log"), SIZES, strict=True)),
    *(factor(name, 1 - size) for name, size in zip(("matmul", "norm", "logsumexp", "softmax", "det"), SIZES, strict=True)),
    factor("cube", 2), factor("exp", 0.5), factor("tanh", -1), factor("inverse", -1), factor("mean squares", 10),
    factor("quotient", 1 + 3e-6), factor("outer", 1 + 2e-6), factor("softplus", 1 + 2e-6), factor("bias", 0),
    *(one_entry(name, 1 + size) for name, size in zip(("exp", "matmul", "inverse", "cumsum", "det"), SIZES, strict=True)),
    *(one_entry(name, 1 - size) for name, size in zip(("softmax", "bias", "outer", "cube", "reciprocal"), SIZES, strict=True)),
    one_entry("quadratic form", 1 + 2e-6), one_entry("norm", 0, 2), one_entry("mean squares", 1 + 2e-6, 7),
    *(second(name, size) for name, size in zip(("exp", "tanh", "product", "norm", "softmax"), SIZES, strict=True)),
    detached("exp"), detached("matmul"), detached("norm"), detached("logsumexp"), detached("det"),
    where("sin", "x < 0", 1.001, lambda x: x < 0), where("tanh", "x > 3", 1.01, lambda x: x > 3),
    where("cube", "|x| < 0.05", 1 + 1e-5, lambda x: x.abs() < 0.05), where("exp", "x < -2", 2, lambda x: x < -2),
    where("product", "x > 2.5", 1 + 1e-4, lambda x: x > 2.5),
    tampered("matmul", "a transposed part", lambda gs, xs: [gs[0], gs[1].T.reshape(gs[1].shape)]),
    tampered("det", "transposed", lambda gs, xs: [gs[0].T]),
    tampered("softmax", "the sum left out", lambda gs, xs: [xs[0].softmax(0) * gs[0] / xs[0].softmax(0).detach()]),
    tampered("quotient", "the second left out", lambda gs, xs: [gs[0], 0 * gs[1]]),
    tampered("quadratic form", "a penalty added", lambda gs, xs: [gs[0] + 1e-3 * xs[0]]),
    tampered("cumsum", "the other way", lambda gs, xs: [gs[0].flip(0)]),
    tampered("bias", "bias averaged", lambda gs, xs: [gs[0], gs[1] / 3]),
    tampered("outer", "a constant added", lambda gs, xs: [gs[0] + 1e-5, gs[1]]),
    Case("softplus of torch 1.8", old_softplus, (torch.tensor([0.2736, -0.4, 0.1], dtype=torch.float64),)),
    Case("det of torch 1.11 at 0", old_det, (torch.zeros(1, 1, dtype=torch.float64),)),
    Case("prod of two zeros", old_prod, (torch.tensor([2.0, 3.0, 0.0, 0.0], dtype=torch.float64),)),
    Case("weight norm, norm held constant", weight_norm, (S, torch.tensor(1.3, dtype=torch.float64))),
    Case("native_layer_norm with bias alone", layer_norm_bias, (draw(2, 3, seed=9), draw(3))),
    Case("straight-through rounding", ste, (S,)),
    Case("no_grad on the way", lambda x: (x * x.tanh().detach()).sum(), (S,)),
    Case(".data on the way", lambda x: x.sin() * x.data, (S,)),
]  # fmt: skip


# --- right ones ---

FIXED = torch.Generator().manual_seed(0)
W1, W2 = draw(8, 4, seed=10), draw(3, 8, seed=11)


def network(act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: W2 @ act(W1 @ x)


def trap(x: Tensor) -> Tensor:
    return torch.where(x > 0, x.clamp(min=1e-3).sqrt(), x * 2)


RIGHT = [
    *map(base, BASES),
    Case("F.gelu", F.gelu, (S,)), Case("F.silu", F.silu, (S,)), Case("F.softplus", F.softplus, (S,)),
    Case("F.layer_norm", lambda x, w, b: F.layer_norm(x, (3,), w, b), (draw(2, 3, seed=9), draw(3), draw(3, seed=4))),
    Case("F.cross_entropy", lambda x: F.cross_entropy(x, torch.tensor([0, 2])), (draw(2, 3, seed=9),)),
    Case("F.conv1d", F.conv1d, (draw(1, 2, 6, seed=1), draw(2, 2, 3, seed=2))),
    Case("torch.det", torch.det, (A,)), Case("linalg.solve", torch.linalg.solve, (A, draw(3))),
    Case("slogdet", lambda a: torch.linalg.slogdet(a)[1], (A,)),
    Case("cholesky", lambda a: torch.linalg.cholesky(a @ a.T + torch.eye(3)), (A,)),
    Case("eigvalsh", lambda a: torch.linalg.eigvalsh(a + a.T), (A,)),
    Case("torch.prod with a zero", torch.prod, (torch.tensor([2.0, 3.0, 0.0], dtype=torch.float64),)),
    Case("complex square", lambda z: z * z, (torch.complex(S, P),)),
    Case("complex modulus", lambda z: z.abs() ** 2, (torch.complex(S, P),)),
    Case("fft", lambda x: torch.fft.rfft(x), (S,)),
    Case("relu away from 0", torch.relu, (S,)), Case("relu at 0", torch.relu, (torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64),)),
    Case("abs at 0", torch.abs, (torch.tensor([0.0, 1.0], dtype=torch.float64),)),
    Case("norm at 0", lambda x: x.norm(), (torch.zeros(3, dtype=torch.float64),)),
    Case("relu near 0", torch.relu, (torch.tensor([1e-7, -1e-9, 1e-12], dtype=torch.float64),)),
    Case("max of ties", lambda x: x.max(), (torch.ones(3, dtype=torch.float64),)),
    Case("flat", lambda x: x.round(), (S,)), Case("constant", lambda x: 0 * x + 1, (S,)),
    Case("stationary", lambda x: ((x - 1) ** 2).sum(), (torch.ones(4, dtype=torch.float64),)),
    Case("pole", lambda x: 1 / x, (torch.tensor([0.0, 1.0], dtype=torch.float64),)),
    Case("log near 0", torch.log, (torch.tensor([1e-9, 1e-4], dtype=torch.float64),)),
    Case("sqrt at 0", torch.sqrt, (torch.tensor([0.0, 4.0], dtype=torch.float64),)),
    Case("large scale", lambda x: (x**3).sum(), (1e6 * S,)), Case("small scale", lambda x: (x**3).sum(), (1e-6 * S,)),
    Case("large values", lambda x: 1e12 + x.sin().sum(), (S,)),
    Case("cancellation", lambda x: (1e8 + x) ** 2 - 1e16 - 2e8 * x, (S,)),
    Case("log(1 + x), small", lambda x: (1 + x).log(), (1e-9 * S,)),
    Case("float32 inside", lambda x: x.float().tanh().double() * 2, (S,)),
    Case("bfloat16 inside", lambda x: x.bfloat16().tanh().double(), (S,)),
    Case("float32 inputs", lambda x: x.tanh().square().sum(), (S.float(),)),
    Case("steep sine", lambda x: (50 * x).sin(), (S,)), Case("fast growth", lambda x: (x**2).exp(), (2 * S,)),
    Case("dropout", lambda x: F.dropout(x, 0.5).square().sum(), (S,)),
    Case("noise added", lambda x: x.sin() + 1e-3 * torch.randn(4, dtype=torch.float64), (S,)),
    Case("tanh network", network(torch.tanh), (S,)), Case("relu network", network(torch.relu), (S,)),
    Case("where with a trap avoided", trap, (S,)),
    Case("clamp at its end", lambda x: x.clamp(max=1.0), (torch.tensor([1.0, 0.3], dtype=torch.float64),)),
    Case("many variables", lambda x: (x.tanh() ** 2).sum(), (draw(300, seed=3),)),
]  # fmt: skip
