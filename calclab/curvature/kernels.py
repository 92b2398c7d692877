"""Kernels of torch whose second derivative makes many passes over the rows, as what costs few.

Batch normalisation in eval mode becomes what it is, y = s x + t channel by channel, without which a product with a
ResNet-20 takes a quarter longer. An activation keeps its first two derivatives: what autograd would work out from z
again in every product is then a multiplication, which saves a tenth of one with a transformer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

batch = functional.batch_norm


@contextmanager
def quick_twice() -> Iterator[None]:
    """Within the block, what is called of torch builds graphs that are quick to go through a second time: by torch's
    own layers, which look up batch_norm in torch.nn.functional, and of activations by anybody."""
    functional.batch_norm = batch_norm
    try:
        with Activations():
            yield
    finally:
        functional.batch_norm = batch


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """γ (x - mean) / √(variance + ε) + β for x (N, C, ...)."""
    if training or running_mean is None or running_var is None:
        return batch(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (1, -1, *[1] * (input.ndim - 2))
    return torch.addcmul(shift.view(shape), input, scale.view(shape))


BENT = {functional.gelu, functional.silu, functional.mish, functional.elu, functional.softplus, functional.hardswish}


class Activations(TorchFunctionMode):
    """Activations on the graph, as `Bent`; those that work in place are left alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in BENT or not args or not args[0].requires_grad or kwargs.get("inplace"):
            return func(*args, **kwargs)
        z, more = args[0], args[1:]
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            y = func(leaf, *more, **kwargs)
            (first,) = torch.autograd.grad(y.sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), leaf)
        return Bent.apply(z, y.detach(), first.detach(), second)  # type: ignore[no-untyped-call]


class Bent(Function):
    """y = φ(z), where φ'(z) and φ''(z) are known; all of one shape. Not for third derivatives."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        z, _, first, second = inputs
        ctx.save_for_backward(z, first, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Sloped.apply(gradients[0], *ctx.saved_tensors), None, None, None  # type: ignore[no-untyped-call]


class Sloped(Function):
    """g to g φ'(z)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return g * first

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        g, _, first, second = inputs
        ctx.save_for_backward(g, first, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, first, second = ctx.saved_tensors
        (c,) = gradients
        return c * first, (c * g).mul_(second), None, None
