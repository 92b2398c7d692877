"""Compressed Jacobians of local layers: convolutions, pooling, activations (Curtis, Powell and Reid 1974).

Output pixel o of such a sequence sees the inputs o S + F, ..., o S + F + R - 1 along each axis, whatever the weights.
So columns whose pixels lie R apart share no row, and one product with their sum has the entries of all of them: 27
products give the 8192 × 3072 Jacobian of a 3×3 convolution of a 3 × 32 × 32 image. Rows can be compressed likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.numerics.jacobian.layers import Layer, entrywise, passes, scale, slopes

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
MEANS = (nn.AvgPool1d, nn.AvgPool2d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d)


@dataclass(frozen=True)
class Window:
    """What an output pixel sees along each axis: inputs o ``step`` + ``first`` + 0, 1, ..., ``reach`` - 1,
    of the channels and pixels ``before`` (C, H, W), itself one of ``after``."""

    step: tuple[int, ...]
    first: tuple[int, ...]
    reach: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """How many colours the input pixels need along each axis: pixels ``reach`` apart share no output."""
        return tuple(min(r, size) for r, size in zip(self.reach, self.before[1:], strict=True))

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """... and the output pixels: those whose windows lie apart."""
        steps = zip(self.reach, self.step, self.after[1:], strict=True)
        return tuple(min(-(-r // s), size) for r, s, size in steps)

    @property
    def by_columns(self) -> bool:
        return self.before[0] * prod(self.columns) <= self.after[0] * prod(self.rows)

    @property
    def colours(self) -> int:
        """Products needed: with columns' sums, or with rows', whichever are fewer."""
        return min(self.before[0] * prod(self.columns), self.after[0] * prod(self.rows))


def window(layers: Sequence[Layer] | None) -> Window | None:
    """What an output pixel of the layers sees; None where a layer is not local."""
    if not layers or len(layers[0].before) not in (2, 3):
        return None
    axes = len(layers[0].before) - 1
    step, first, reach = [1] * axes, [0] * axes, [1] * axes
    for layer in layers:
        module = layer.module
        if type(module) in (*CONVOLUTIONS, *MEANS, *MAXIMA) and len(layer.before) == axes + 1:
            found = geometry(module, axes)
            if found is None:
                return None
            for i, (kernel, stride, padding) in enumerate(found):
                first[i] -= step[i] * padding
                reach[i] += (kernel - 1) * step[i]
                step[i] *= stride
        elif type(module) is nn.Flatten and layer is layers[-1]:
            continue
        elif type(module) in (nn.Flatten, nn.Unflatten) or not (
            passes(module) or entrywise(module) or scale(module) is not None
        ):
            return None
    shaped = [layer.after for layer in layers if type(layer.module) is not nn.Flatten]
    if not shaped or len(shaped[-1]) != axes + 1:
        return None
    return Window(tuple(step), tuple(first), tuple(reach), layers[0].before, shaped[-1])


def geometry(module: nn.Module, axes: int) -> list[tuple[int, int, int]] | None:
    """(kernel, stride, padding) of the layer along each axis, dilation counted into the kernel."""

    def each(value: int | Sequence[int]) -> list[int]:
        return [value] * axes if isinstance(value, int) else [int(v) for v in value]

    padding, dilation = getattr(module, "padding", 0), each(getattr(module, "dilation", 1))
    if isinstance(padding, str) or getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    if getattr(module, "return_indices", False):
        return None
    kernel, stride = each(module.kernel_size), each(module.stride)  # type: ignore[arg-type]
    return [((k - 1) * d + 1, s, p) for k, s, p, d in zip(kernel, stride, each(padding), dilation, strict=True)]


@dataclass(frozen=True)
class Compressed:
    """J (m, n) by its entries that can differ from zero. With ``by_columns``, ``values`` (m, c) are those of each row
    and ``places`` (m, c) their columns; otherwise (n, c), of each column and their rows. A place of -1: no entry."""

    values: Tensor
    places: Tensor
    shape: tuple[int, int]
    by_columns: bool

    def dense(self, out: Tensor | None = None) -> Tensor:
        J = self.values.new_zeros(self.shape) if out is None else out.zero_()
        entries = torch.where(self.places >= 0, self.values, 0)
        if self.by_columns:
            return J.scatter_add_(1, self.places.clamp(min=0), entries)
        return J.scatter_add_(0, self.places.clamp(min=0).T, entries.T)

    def sparse(self) -> Tensor:
        """The same as a sparse COO tensor."""
        there = self.places >= 0
        own = torch.arange(len(self.places), device=self.places.device)[:, None].expand_as(self.places)[there]
        other = self.places[there]
        indices = torch.stack([own, other] if self.by_columns else [other, own])
        return torch.sparse_coo_tensor(indices, self.values[there], self.shape, check_invariants=False)

    @property
    def entries(self) -> int:
        """How many entries can differ from zero."""
        return int((self.places >= 0).sum())

    def norm(self) -> Tensor:
        """‖J‖_F."""
        return torch.where(self.places >= 0, self.values, 0).norm()


def compressed(layers: Sequence[Layer], seen: Window, x: Tensor, places: Tensor | None = None) -> Compressed:
    """J at x (n,)."""
    n, m = prod(seen.before), prod(seen.after)
    seeds = seeds_of(seen, x)
    values = (push if seen.by_columns else pull)(layers, x, seeds).T
    return Compressed(values, places_of(seen, x.device) if places is None else places, (m, n), seen.by_columns)


def seeds_of(seen: Window, x: Tensor) -> Tensor:
    """The sums of unit vectors, one a colour: (c, n), or (c, m) of rows."""
    shape, periods = (seen.before, seen.columns) if seen.by_columns else (seen.after, seen.rows)
    seeds = x.new_zeros(shape[0], *periods, *shape)
    for channel in range(shape[0]):
        for at in product(*map(range, periods)):
            pixels = tuple(slice(r, None, p) for r, p in zip(at, periods, strict=True))
            seeds[channel][at][channel][pixels] = 1
    return seeds.reshape(shape[0] * prod(periods), -1)


def places_of(seen: Window, device: torch.device) -> Tensor:
    """Which column (m, c) the product with colour c has at each row, or which row (n, c) at each column; -1: none."""
    ends = zip(seen.step, seen.first, seen.reach, seen.before[1:], seen.after[1:], strict=True)
    own, other = (seen.after, seen.before) if seen.by_columns else (seen.before, seen.after)
    periods = seen.columns if seen.by_columns else seen.rows
    axes = []  # along each axis: own pixel, colour -> the other's pixel or -1
    for (step, first, reach, inputs, outputs), period in zip(ends, periods, strict=True):
        if seen.by_columns:
            low = torch.arange(outputs, device=device) * step + first
            high = low + reach - 1
            low, high, limit = low.clamp(min=0), high.clamp(max=inputs - 1), inputs
        else:
            y = torch.arange(inputs, device=device) - first
            low = (-((reach - 1 - y) // step)).clamp(min=0)  # the least o with o step + reach - 1 >= y
            high, limit = (y // step).clamp(max=outputs - 1), outputs
        residue = torch.arange(period, device=device)
        pixel = low[:, None] + (residue - low[:, None]) % period
        axes.append(torch.where((pixel <= high[:, None]) & (pixel < limit), pixel, -1))
    count = len(axes)
    flat = torch.zeros((), dtype=torch.long, device=device)
    fits = torch.ones((), dtype=torch.bool, device=device)
    for i, axis in enumerate(axes):
        view = axis.view(
            *(axis.shape[0] if k == i else 1 for k in range(count)),
            *(axis.shape[1] if k == i else 1 for k in range(count)),
        )
        flat = flat * other[1 + i] + view
        fits = fits & (view >= 0)
    pixels = torch.where(fits, flat, -1).reshape(prod(own[1:]), prod(periods))
    offsets = torch.arange(other[0], device=device)[:, None] * prod(other[1:])
    whole = torch.where(pixels[:, None, :] >= 0, pixels[:, None, :] + offsets, -1).reshape(len(pixels), -1)
    return whole.repeat(own[0], 1)


def push(layers: Sequence[Layer], x: Tensor, V: Tensor) -> Tensor:
    """J V for rows V (p, n) at x (n,): (p, m), each layer linearised by hand."""
    z, t = x.detach()[None], V
    with torch.no_grad():
        for layer in layers:
            z, t = z.reshape(1, *layer.before), t.reshape(len(t), *layer.before)
            z, t = tangent(layer.module, z, t)
    return t.reshape(len(t), -1)


def tangent(module: nn.Module, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output at z (1, ...), and the derivatives along t (p, ...)."""
    if isinstance(module, CONVOLUTIONS):
        convolve: Callable[..., Tensor] = functional.conv1d if isinstance(module, nn.Conv1d) else functional.conv2d
        rest = (module.stride, module.padding, module.dilation, module.groups)
        return module(z), convolve(t, module.weight, None, *rest)
    if isinstance(module, MEANS):
        return module(z), module(t)
    if isinstance(module, MAXIMA):
        pool: Callable[..., Any] = functional.max_pool1d if isinstance(module, nn.MaxPool1d) else functional.max_pool2d
        sizes: list[Any] = [module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode]
        y, best = pool(z, *sizes, return_indices=True)
        flat = best.flatten(2).expand(len(t), -1, -1)
        return y, t.flatten(2).gather(2, flat).reshape(len(t), *y.shape[1:])
    if entrywise(module):
        y, slope = slopes(module, z)
        return y, t * slope
    constant = scale(module)
    if constant is not None:
        return module(z), t * constant.reshape(-1, *[1] * (z.ndim - 2))
    return module(z), module(t)


def pull(layers: Sequence[Layer], x: Tensor, U: Tensor) -> Tensor:
    """Jᵀ U for rows U (p, m) at x (n,): (p, n), by one backward pass through p copies of the point."""
    with torch.enable_grad():
        z = x.detach().expand(len(U), -1).clone().requires_grad_()
        y = z
        for layer in layers:
            y = layer.module(y.reshape(len(y), *layer.before).clone())
    (g,) = torch.autograd.grad(y, z, U.reshape(y.shape))
    return g.detach()
