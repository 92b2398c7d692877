"""Cases of other kinds than `check_cases.py`, written when the check had been made to pass that table, and run once."""
# ruff: noqa: E501  a table has a line a case

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own habit
from check_cases import Case, custom, draw
from torch import Tensor

V, M, Q = draw(5, seed=21), draw(3, 4, seed=22), draw(4, 4, seed=23)
POS = draw(5, seed=24, positive=True)


def scan(x: Tensor, backward_decay: float) -> Tensor:
    """h = 0.9 h + x, whose backward pass decays by another number."""

    def value(x: Tensor) -> Tensor:
        h, out = torch.zeros(()).to(x), []
        for each in x:
            h = 0.9 * h + each
            out.append(h)
        return torch.stack(out)

    def pull(g: Tensor, x: Tensor) -> tuple[Tensor]:
        h, out = torch.zeros(()).to(g), []
        for each in g.flip(0):
            h = backward_decay * h + each
            out.append(h)
        return (torch.stack(out).flip(0),)

    return custom(value, pull)(x)


def attention(q: Tensor, scale: float) -> Tensor:
    """Softmax attention with the scale left out, or wrong, in the backward pass."""

    def value(q: Tensor) -> Tensor:
        return (q @ q.T / 2).softmax(-1) @ q

    def pull(g: Tensor, q: Tensor) -> tuple[Tensor]:
        a = (q @ q.T / 2).softmax(-1)
        ga = g @ q.T
        gs = a * (ga - (ga * a).sum(-1, keepdim=True)) * scale
        return (a.T @ g + gs @ q + gs.T @ q,)

    return custom(value, pull)(q)


def norm_layer(x: Tensor, drop: float) -> Tensor:
    """Standardised rows; ``drop`` is how much of the variance's term the backward pass keeps."""

    def value(x: Tensor) -> Tensor:
        c = x - x.mean(-1, keepdim=True)
        return c / c.square().mean(-1, keepdim=True).sqrt()

    def pull(g: Tensor, x: Tensor) -> tuple[Tensor]:
        c = x - x.mean(-1, keepdim=True)
        s = c.square().mean(-1, keepdim=True).sqrt()
        y = c / s
        return ((g - g.mean(-1, keepdim=True) - drop * y * (g * y).mean(-1, keepdim=True)) / s,)

    return custom(value, pull)(x)


def gather(x: Tensor, add: bool) -> Tensor:
    """x at places that repeat; the gradient has to be added up."""
    places = torch.tensor([0, 2, 2, 4])

    def pull(g: Tensor, x: Tensor) -> tuple[Tensor]:
        zero = torch.zeros_like(x)
        return (zero.index_add(0, places, g) if add else zero.index_copy(0, places, g),)

    return custom(lambda x: x[places], pull)(x)


def solve(a: Tensor, refine: float) -> Tensor:
    """A root of y³ + y = a by Newton, differentiated implicitly."""

    def root(a: Tensor) -> Tensor:
        y = a.clone()
        for _ in range(60):
            y = y - (y**3 + y - a) / (3 * y**2 + 1)
        return y

    return custom(root, lambda g, a: (g / (3 * root(a) ** 2 + refine),))(a)


def two(x: Tensor, c: float) -> Any:
    """Two outputs, of which the second's gradient is off by a factor c."""

    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            ctx.save_for_backward(x)
            return x.sin(), x.cos()

        @staticmethod
        def backward(ctx: Any, g: Tensor, h: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return g * x.cos() - c * h * x.sin()

    return Two.apply(x)


def hook(x: Tensor, c: float) -> Tensor:
    """A tensor hook that scales gradients on the way."""
    y = x * 1
    if y.requires_grad:
        y.register_hook(lambda g: c * g)
    return y.exp()


def clipped(x: Tensor, most: float) -> Tensor:
    y = x * 1
    if y.requires_grad:
        y.register_hook(lambda g: g.clamp(-most, most))
    return (y**3).sum()


def einsum(x: Tensor, c: float) -> Tensor:
    return custom(lambda x: torch.einsum("ij,kj->ik", x, x), lambda g, x: ((g + c * g.T) @ x,))(x)


def pooled(x: Tensor, k: float) -> Tensor:
    return custom(
        lambda x: F.avg_pool1d(x[None, None], 2)[0, 0], lambda g, x: (F.pad((g / k).repeat_interleave(2), (0, 1)),)
    )(x)


def big(at: int, c: float) -> Any:
    """One of 3000 entries wrong by a factor c."""

    def pull(g: Tensor, x: Tensor) -> tuple[Tensor]:
        mask = torch.ones_like(x)
        mask[at] = c
        return (g * (1 - x.tanh() ** 2) * mask,)

    return lambda x: (custom(torch.tanh, pull)(x) ** 2).sum()


def expm(a: Tensor, right: bool) -> Tensor:
    def pull(g: Tensor, a: Tensor) -> tuple[Tensor]:
        if right:
            return (
                torch.linalg.matrix_exp(torch.cat([torch.cat([a.T, g], 1), torch.cat([0 * a, a.T], 1)]))[
                    : len(a), len(a) :
                ],
            )
        return (torch.linalg.matrix_exp(a).T @ g,)  # as if a and its change commuted

    return custom(torch.linalg.matrix_exp, pull)(a)


def kl(p: Tensor, keep: float) -> Tensor:
    return custom(lambda p: (p * p.log()).sum(), lambda g, p: (g * (p.log() + keep),))(p)


def huber(x: Tensor, edge: float) -> Tensor:
    return custom(
        lambda x: torch.where(x.abs() < 1, x * x / 2, x.abs() - 0.5),
        lambda g, x: (g * torch.where(x.abs() < edge, x, x.sign()),),
    )(x)


def curved(x: Tensor, size: float) -> Tensor:
    """The second derivative off in one entry alone."""

    def pull(g: Tensor, x: Tensor) -> tuple[Tensor]:
        off = torch.zeros_like(x)
        off[1] = size
        right = g * x.cos()
        return (right + off * (x.sin() - x.sin().detach()),)

    return custom(torch.sin, pull)(x)


def realpart(z: Tensor, c: float) -> Tensor:
    return custom(lambda z: (z * z).real, lambda g, z: (2 * g * torch.complex(z.real, c * z.imag),))(z)


Z = torch.complex(V, POS)
WRONG = [
    Case("scan: decay 0.90001", lambda x: scan(x, 0.90001), (V,)), Case("scan: decay left out", lambda x: scan(x, 1.0), (V,)),
    Case("attention: no scale", lambda q: attention(q, 1.0), (M,)), Case("attention: scale by 2e-6", lambda q: attention(q, 0.5 * (1 + 1e-5)), (M,)),
    Case("norm layer: variance held", lambda x: norm_layer(x, 0.0), (M,)), Case("norm layer: variance by 1e-5", lambda x: norm_layer(x, 1 + 1e-5), (M,)),
    Case("gather: not added up", lambda x: gather(x, False), (V,)),
    Case("implicit: 1 for 0.999", lambda a: solve(a, 0.999), (V,)), Case("implicit: by 1e-5", lambda a: solve(a, 1 + 1e-5), (V,)),
    Case("two outputs: second by 1e-5", lambda x: two(x, 1 + 1e-5), (V,)), Case("two outputs: second's sign", lambda x: two(x, -1.0), (V,)),
    Case("hook: 3e-6", lambda x: hook(x, 1 + 3e-6), (V,)), Case("hook: 2", lambda x: hook(x, 2.0), (V,)),
    Case("clipped at 0.5", lambda x: clipped(x * 1, 0.5), (V,)), Case("clipped at 20", lambda x: clipped(x * 1, 20.0), (V,)),
    Case("einsum: half", lambda x: einsum(x, 0.0), (M,)), Case("einsum: by 1e-4", lambda x: einsum(x, 1 + 1e-4), (M,)),
    Case("pool: not divided", lambda x: pooled(x, 1.0), (V,)), Case("pool: by 4e-6", lambda x: pooled(x, 2 + 8e-6), (V,)),
    Case("one of 3000 by 1e-5", big(1234, 1 + 1e-5), (draw(3000, seed=25),)), Case("one of 3000 by 3e-6", big(77, 1 + 3e-6), (draw(3000, seed=25),)),
    Case("one of 3000 zero", big(2999, 0.0), (draw(3000, seed=25),)),
    Case("matrix exponential: as if commuting", lambda a: expm(a, False), (Q,)),
    Case("entropy: 1 left out", lambda p: kl(p, 0.0), (POS,)), Case("entropy: by 1e-5", lambda p: kl(p, 1 + 1e-5), (POS,)),
    Case("huber: another edge", lambda x: huber(x, 1.2), (V,)),
    Case("second order in one entry", lambda x: curved(x, 1e-4), (V,)), Case("second order in one entry, 3e-6", lambda x: curved(x, 3e-6), (V,)),
    Case("complex: imaginary sign", lambda z: realpart(z, 1.0), (Z,)), Case("complex: imaginary by 1e-5", lambda z: realpart(z, -1 - 1e-5), (Z,)),
]  # fmt: skip

PIECES = torch.linspace(-2, 2, 9, dtype=torch.float64)
RIGHT = [
    Case("scan", lambda x: scan(x, 0.9), (V,)), Case("attention", lambda q: attention(q, 0.5), (M,)),
    Case("norm layer", lambda x: norm_layer(x, 1.0), (M,)), Case("gather", lambda x: gather(x, True), (V,)),
    Case("implicit", lambda a: solve(a, 1.0), (V,)), Case("two outputs", lambda x: two(x, 1.0), (V,)),
    Case("einsum", lambda x: einsum(x, 1.0), (M,)), Case("pool", lambda x: pooled(x, 2.0), (V,)),
    Case("one of 3000", big(0, 1.0), (draw(3000, seed=25),)), Case("matrix exponential", lambda a: expm(a, True), (Q,)),
    Case("entropy", lambda p: kl(p, 1.0), (POS,)), Case("huber", lambda x: huber(x, 1.0), (V,)),
    Case("huber at its edge", lambda x: huber(x, 1.0), (torch.tensor([1.0, -1.0, 0.3], dtype=torch.float64),)),
    Case("complex", lambda z: realpart(z, -1.0), (Z,)), Case("complex exp", lambda z: z.exp().abs(), (Z,)),
    Case("svd values", lambda a: torch.linalg.svdvals(a), (M,)), Case("qr", lambda a: torch.linalg.qr(a).R, (Q,)),
    Case("equal eigenvalues", lambda a: torch.linalg.eigvalsh(a @ a.T), (torch.eye(3, dtype=torch.float64),)),
    Case("sort", lambda x: x.sort().values * torch.arange(5.0), (V,)), Case("topk with a tie", lambda x: x.topk(1).values, (torch.tensor([1.0, 1.0, 0.2], dtype=torch.float64),)),
    Case("maxpool with ties", lambda x: F.max_pool1d(x[None, None], 2), (torch.tensor([0.0, 0.0, 1.0, 2.0], dtype=torch.float64),)),
    Case("piecewise linear", lambda x: (x[:, None] - PIECES).abs().sum(-1), (V,)),
    Case("sinc at 0", torch.sinc, (torch.tensor([0.0, 0.4], dtype=torch.float64),)),
    Case("sigmoid, saturated", torch.sigmoid, (torch.tensor([30.0, -30.0, 40.0], dtype=torch.float64),)),
    Case("logsumexp of 1e4", lambda x: torch.logsumexp(1e4 * x, 0), (V,)), Case("x^1.5 at 0", lambda x: x.abs() ** 1.5, (torch.tensor([0.0, 1.0], dtype=torch.float64),)),
    Case("oscillation at 0", lambda x: x**2 * torch.sin(1 / x), (torch.tensor([1e-3, 0.1], dtype=torch.float64),)),
    Case("difference of large", lambda x: (1e9 * x.exp() - 1e9 * x.exp()) + x, (V,)),
    Case("float16 inside", lambda x: x.half().float().sin().double(), (V,)), Case("denormals", lambda x: (1e-300 * x) * 1e-20, (V,)),
    Case("lgamma", torch.lgamma, (POS,)), Case("erfinv", lambda x: torch.erfinv(x.tanh()), (V,)),
]  # fmt: skip
