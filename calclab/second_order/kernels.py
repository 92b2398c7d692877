"""Graphs that are quick to go through a second time, in place of those that torch's kernels build.

Batch normalisation in eval mode becomes what it is, y = s x + t channel by channel, and behind a convolution a part of
its kernel, so that it costs no pass over the rows: torch's own has one second derivative for it and for batch
statistics, by which a product with a ResNet-20 takes a third longer. Convolutions: see there. An activation keeps its
first two derivatives; what autograd would work out from z again in every product is then a multiplication, which saves
a tenth of one with a transformer.

    γ (x - μ)/√(σ² + ε) + β = s x + t,    s = γ/√(σ² + ε),    t = β - μ s    (eval mode: μ and σ² are constants)
    s (x * W + b) + t = x * (s W) + (s b + t)                              behind a convolution

Values and derivatives of every order are those of torch's functions, up to rounding: the network is the same function.
Left alone are training mode, torch.func and forward mode, checkpointed parts, and anything written over in place.

>>> x = torch.randn(4, 3, 5, 5).double()
>>> norm = torch.nn.BatchNorm2d(3).double().eval()
>>> with QuickTwice():
...     quick = norm(x)
>>> torch.allclose(quick, norm(x))
True
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from calclab.second_order.activation_derivatives import twice
from calclab.second_order.convolution import convolution

Call = Callable[[Tensor], Tensor]
CONVOLUTIONS = {functional.conv1d, functional.conv2d, functional.conv3d}
BENT = {functional.gelu, functional.silu, functional.mish, functional.elu, functional.softplus, functional.hardswish}


class QuickTwice(TorchFunctionMode):
    """Within the block, functions of torch that anybody calls are these.

    A mode sees calls of ``torch.nn.functional``, whoever makes them, so that the network need not be changed; what was
    folded into a kernel is known by a mark on the tensor that the convolution gave, and is not believed once anything
    has been written over.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if transformed():
            return func(*args, **kwargs)
        if func is functional.batch_norm:
            return batch_norm(*args, **kwargs)
        if func in CONVOLUTIONS and plain(*args, **kwargs):
            y = convolution(*args, **kwargs)
            y.made = Made(args, kwargs, versions(y, args, kwargs))  # type: ignore[attr-defined]
            return y
        if func in BENT and args and args[0].requires_grad and not kwargs.get("inplace"):
            return bent(func, *args, **kwargs)
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Made:
    """What a convolution was called with, and the ``versions`` of its output and of these: others if somebody wrote
    over one."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    versions: list[int]

    def intact(self, output: Tensor) -> bool:
        return self.versions == versions(output, self.args, self.kwargs)

    def again(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Its output times ``scale`` and plus ``shift``, by channels."""
        return rescaled(scale, shift, *self.args, **self.kwargs)


def plain(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> bool:
    """Whether a convolution is of rows, not of one without its axis, and its padding is in numbers."""
    return input.ndim == weight.ndim and not any(isinstance(given, str) for given in (*args, *kwargs.values()))


def versions(output: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """How often each tensor has been written over: torch counts it."""
    return [given._version for given in (output, *args, *kwargs.values()) if isinstance(given, Tensor)]


def rescaled(
    scale: Tensor, shift: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    """s (x * W + b) + t by channels as one convolution: kernel s W, bias s b + t."""
    shift = shift if bias is None else torch.addcmul(shift, scale, bias)
    return convolution(input, scale.view(-1, *[1] * (weight.ndim - 1)) * weight, shift, *args, **kwargs)


def transformed() -> bool:
    """Whether the network is in torch.func or in forward mode, which know nothing of the functions here, or in a part
    that is computed again on the way back (torch.utils.checkpoint), where they are not put in the place of torch's."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    again = hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint"
    return again or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


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
    if made is not None and made.intact(input):
        return made.again(scale, shift)
    shape = (1, -1, *[1] * (input.ndim - 2))
    return torch.addcmul(shift.view(shape), input, scale.view(shape))


def bent(activation: Any, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """φ(z) for an activation with these arguments, on a graph that has kept φ'(z) and φ''(z)."""

    def φ(z: Tensor) -> Tensor:
        y: Tensor = activation(z, *args, **kwargs)
        return y

    y, first, second = twice(φ, z)
    second = torch.zeros_like(first) if second is None else second
    result: Tensor = Bent.apply(z, y, first, second, φ)  # type: ignore[no-untyped-call]
    return result


class Bent(Function):
    """y = φ(z), where φ'(z) and φ''(z) are known; all of one shape."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, y: Tensor, first: Tensor, second: Tensor, φ: Call) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        z, _, first, second, ctx.φ = inputs
        ctx.save_for_backward(z, first, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Sloped.apply(gradients[0], *ctx.saved_tensors, ctx.φ), None, None, None, None  # type: ignore[no-untyped-call]


class Sloped(Function):
    """g to g φ'(z)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, z: Tensor, first: Tensor, second: Tensor, φ: Call) -> Tensor:
        return g * first

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.φ = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, z, first, second = ctx.saved_tensors
        (c,) = gradients
        if torch.is_grad_enabled():  # by a network with derivatives in it: these are differentiated once more
            first, second = on_the_graph(ctx.φ, z)
            return c * first, c * g * second, None, None, None
        return c * first, (c * g).mul_(second), None, None, None


def on_the_graph(φ: Call, z: Tensor) -> tuple[Tensor, Tensor]:
    """φ'(z) and φ''(z) as torch's own functions of z, for derivatives of any order."""
    with torch.enable_grad(), torch._C.DisableTorchFunction():
        (first,) = torch.autograd.grad(φ(z).sum(), z, create_graph=True)
        if not first.requires_grad:
            return first, torch.zeros_like(z)
        (second,) = torch.autograd.grad(first.sum(), z, create_graph=True, allow_unused=True)
    return first, torch.zeros_like(z) if second is None else second
