"""Convolutions whose second derivatives are convolutions' own backward passes.

y = x * W, and the two maps of its derivative, to x and to W, are bilinear, and the derivatives of each are the other
two (``laned.py`` has the same of linear layers). torch's rule for the second derivative works the one by W out as a
convolution with rows in the place of channels, and copies to form them: a product with a ResNet-20 takes a quarter
longer by it.

As ⟨g, x * W⟩ is trilinear in (g, x, W), the three maps are its partial gradients, `Convolve` by g, `Pull` by x and
`Outer` by W; whatever the order of derivative, only these three are ever called. Shapes: x (N, C, ...), W
(O, C/groups, ...), y and g (N, O, ...).

>>> x, W = torch.randn(2, 3, 8, 8).double(), torch.randn(4, 3, 3, 3).double()
>>> torch.allclose(convolution(x, W, padding=1), torch.nn.functional.conv2d(x, W, padding=1))
True
>>> torch.autograd.gradgradcheck(convolution, (x[:1, :, :4, :4].requires_grad_(), W.requires_grad_()))
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

aten = torch.ops.aten


@dataclass(frozen=True)
class Way:
    """How the kernel goes over the rows, and the shapes (N, C, ...) of these and (O, C / groups, ...) of the kernel."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int
    rows: torch.Size
    kernel: torch.Size

    def back(self, g: Tensor, x: Tensor, W: Tensor, mask: list[bool]) -> Any:
        turned = [0] * len(self.stride)
        return aten.convolution_backward(
            g, x, W, None, self.stride, self.padding, self.dilation, False, turned, self.groups, mask
        )


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """torch.nn.functional.conv1d, conv2d or conv3d of rows (N, C, ...), for padding in numbers."""
    axes = weight.ndim - 2
    steps, around, apart = ([n] * axes if isinstance(n, int) else list(n) for n in (stride, padding, dilation))
    way = Way(steps, around, apart, groups, input.shape, weight.shape)
    y: Tensor = Convolve.apply(input, weight, way, bias)  # type: ignore[no-untyped-call]
    return y


class Bilinear(Function):
    """Two factors, both kept, and the way."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.way = inputs[2]


class Convolve(Bilinear):
    """x, W to y, with a bias (O,) or without."""

    @staticmethod
    def forward(x: Tensor, W: Tensor, way: Way, b: Tensor | None = None) -> Tensor:
        turned = [0] * len(way.stride)
        y: Tensor = aten.convolution(x, W, b, way.stride, way.padding, way.dilation, False, turned, way.groups)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x, W), (g,), (left, right, _, *rest) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        pulled = Pull.apply(g, W, ctx.way) if left else None  # type: ignore[no-untyped-call]
        outer = Outer.apply(g, x, ctx.way) if right else None  # type: ignore[no-untyped-call]
        summed = g.sum([0, *range(2, g.ndim)]) if any(rest) else None
        return (pulled, outer, None, *[summed] * len(rest))


class Pull(Bilinear):
    """g on y, W to what they make of x."""

    @staticmethod
    def forward(g: Tensor, W: Tensor, way: Way) -> Tensor:
        x = like(g, way.rows)
        pulled: Tensor = way.back(g, x, W, [True, False, False])[0]
        return pulled

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g, W), (c,), (left, right, _) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return Convolve.apply(c, W, ctx.way) if left else None, Outer.apply(g, c, ctx.way) if right else None, None  # type: ignore[no-untyped-call]


class Outer(Bilinear):
    """g on y, x to what they make of W."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, way: Way) -> Tensor:
        made: Tensor = way.back(g, x, like(x, way.kernel), [False, True, False])[1]
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g, x), (C,), (left, right, _) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return Convolve.apply(x, C, ctx.way) if left else None, Pull.apply(g, C, ctx.way) if right else None, None  # type: ignore[no-untyped-call]


def like(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Numbers nobody looks at, for their shape and the order of their axes in memory."""
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device, memory_format=order)
