"""Graphs that are quick to go through a second time, in place of those that torch's kernels build.

Batch normalisation in eval mode becomes what it is, y = s x + t channel by channel, and behind a convolution a part of
its kernel, so that it costs no pass over the rows: torch's own has one second derivative for it and for batch
statistics, by which a product with a ResNet-20 takes a third longer. Convolutions: see there. An activation keeps its
first two derivatives; what autograd would work out from z again in every product is then a multiplication, which saves
a tenth of one with a transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from calclab.curvature.bends import twice
from calclab.curvature.convolution import convolution

CONVOLUTIONS = {functional.conv1d, functional.conv2d, functional.conv3d}
BENT = {functional.gelu, functional.silu, functional.mish, functional.elu, functional.softplus, functional.hardswish}


class QuickTwice(TorchFunctionMode):
    """Within the block, functions of torch that anybody calls are these."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return batch_norm(*args, **kwargs)
        if func in CONVOLUTIONS and not any(isinstance(given, str) for given in (*args, *kwargs.values())):
            y = convolution(*args, **kwargs)
            y.made = Made(args, kwargs, y._version)  # type: ignore[attr-defined]
            return y
        if func in BENT and args and args[0].requires_grad and not kwargs.get("inplace"):
            return bent(func, *args, **kwargs)
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Made:
    """What a convolution was called with, and the version of its output: another if somebody wrote over it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    version: int

    def again(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Its output times ``scale`` and plus ``shift``, by channels."""
        return rescaled(scale, shift, *self.args, **self.kwargs)


def rescaled(
    scale: Tensor, shift: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    shift = shift if bias is None else torch.addcmul(shift, scale, bias)
    return convolution(input, scale.view(-1, *[1] * (weight.ndim - 1)) * weight, shift, *args, **kwargs)


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
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    made: Made | None = getattr(input, "made", None)
    if made is not None and made.version == input._version:
        return made.again(scale, shift)
    shape = (1, -1, *[1] * (input.ndim - 2))
    return torch.addcmul(shift.view(shape), input, scale.view(shape))


def bent(activation: Any, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    y, first, second = twice(lambda z: activation(z, *args, **kwargs), z)
    second = torch.zeros_like(first) if second is None else second
    result: Tensor = Bent.apply(z, y, first, second)  # type: ignore[no-untyped-call]
    return result


class Entrywise(Function):
    """Of one factor, a tensor that only says what depends on what, φ' and φ'', the first and the last two are kept."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        factor, _, first, second = inputs
        ctx.save_for_backward(factor, first, second)


class Bent(Entrywise):
    """y = φ(z), where φ'(z) and φ''(z) are known; all of one shape. Not for third derivatives."""

    @staticmethod
    def forward(z: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Sloped.apply(gradients[0], *ctx.saved_tensors), None, None, None  # type: ignore[no-untyped-call]


class Sloped(Entrywise):
    """g to g φ'(z)."""

    @staticmethod
    def forward(g: Tensor, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return g * first

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, first, second = ctx.saved_tensors
        (c,) = gradients
        return c * first, (c * g).mul_(second), None, None
