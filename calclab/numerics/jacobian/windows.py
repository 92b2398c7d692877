"""What an output pixel sees of an image, whatever the weights: of convolutions, pooling, activations and their sums.

Output pixel o of such layers sees the inputs o S + F, ..., o S + F + R - 1 along each axis (the receptive field:
Araujo, Norris and Sim 2019, Computing receptive fields of convolutional neural networks). A layer with kernel k, stride
s and padding p, after others with S, F and R, has

    S' = S s,    F' = F - S p,    R' = R + (k - 1) S

So columns whose pixels lie R apart share no row, and one product with their sum has the entries of all of them: 27
products give the 8192 × 3072 Jacobian of a 3×3 convolution of a 3 × 32 × 32 image. Rows can be compressed likewise.

>>> from calclab.numerics.jacobian.steps import traced
>>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval()
>>> seen = window(traced(net, torch.zeros(3, 32, 32)))
>>> seen.step, seen.first, seen.reach, seen.shape, seen.colours
((1, 1), (-1, -1), (3, 3), (8192, 3072), 27)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from calclab.numerics.jacobian.layers import entrywise, passes, scale
from calclab.numerics.jacobian.steps import Step

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
MEANS = (nn.AvgPool1d, nn.AvgPool2d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d)
Reach = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # step, first, reach along each axis


@dataclass(frozen=True)
class Window:
    """What an output pixel sees along each axis: inputs o ``step`` + ``first`` + 0, 1, ..., ``reach`` - 1, of the
    channels and pixels ``before`` (C, H, W), itself one of ``after``.

    >>> seen = Window((1,), (-1,), (3,), before=(1, 10), after=(1, 10))  # three neighbours
    >>> seen.colours, seen.places(torch.device("cpu"))[4].tolist()  # output 4 sees 3, 4 and 5, one of each colour
    (3, [3, 4, 5])
    """

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

    @property
    def shape(self) -> tuple[int, int]:
        """Of the Jacobian, (m, n)."""
        return prod(self.after), prod(self.before)

    @property
    def kind(self) -> str:
        return "pixels too far apart to share a window"

    def seeds(self, x: Tensor) -> Tensor:
        """The sums of unit vectors, one a colour: (c, n), or (c, m) of rows."""
        shape, periods = (self.before, self.columns) if self.by_columns else (self.after, self.rows)
        seeds = x.new_zeros(shape[0], *periods, *shape)
        for channel in range(shape[0]):
            for at in product(*map(range, periods)):
                pixels = tuple(slice(r, None, p) for r, p in zip(at, periods, strict=True))
                seeds[channel][at][channel][pixels] = 1
        return seeds.reshape(shape[0] * prod(periods), -1)

    def places(self, device: torch.device) -> Tensor:
        """Which column (m, c) colour c has at each row, or which row (n, c) at each column; -1: none."""
        ends = zip(self.step, self.first, self.reach, self.before[1:], self.after[1:], strict=True)
        own, other = (self.after, self.before) if self.by_columns else (self.before, self.after)
        periods = self.columns if self.by_columns else self.rows
        axes = []  # along each axis: own pixel, colour -> the other's pixel or -1
        for (step, first, reach, inputs, outputs), period in zip(ends, periods, strict=True):
            if self.by_columns:
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


def window(steps: Sequence[Step] | None) -> Window | None:
    """What an output pixel sees of the input; None where a step is not local, or sums images of unlike scales."""
    first = next((step for step in steps or () if step.sources == (0,)), None)
    if not steps or first is None or len(first.before) not in (2, 3):
        return None
    axes = len(first.before) - 1
    found: list[Reach | None] = [((1,) * axes, (0,) * axes, (1,) * axes)]
    for step in steps:
        parts = [found[k] for k in step.sources]
        last = step is steps[-1]
        if any(part is None for part in parts):
            return None
        seen = further(step, [part for part in parts if part is not None], axes)
        if seen is None and not last:
            found.append(None)  # of no harm where it is a branch that nothing takes up again
        elif seen is None:
            return None
        else:
            found.append(seen)
    shaped = next((step for step in reversed(steps) if not flat(step)), None)
    if found[-1] is None or shaped is None or len(shaped.after) != axes + 1:
        return None
    if any(flat(step) for step in steps[:-1]):
        return None
    return Window(*found[-1], first.before, shaped.after)


def flat(step: Step) -> bool:
    """Whether it only hands on the numbers in another shape."""
    return step.kind == "shape" or type(step.module) in (nn.Flatten, nn.Unflatten)


def further(step: Step, parts: list[Reach], axes: int) -> Reach | None:
    """What the step's pixels see, given what those of its sources do; None where it is not local, or sums images of
    unlike scales. A sum sees what any of its sources does."""
    if flat(step):
        return parts[0]
    if step.kind == "sum":
        if any(part[0] != parts[0][0] for part in parts):
            return None
        low = [min(part[1][i] for part in parts) for i in range(axes)]
        high = [max(part[1][i] + part[2][i] for part in parts) for i in range(axes)]
        return parts[0][0], tuple(low), tuple(b - a for a, b in zip(low, high, strict=True))
    module = step.module
    if step.kind != "layer" or len(step.before) != axes + 1:
        return None
    if type(module) not in (*CONVOLUTIONS, *MEANS, *MAXIMA):
        return parts[0] if passes(module) or entrywise(module) or scale(module) is not None else None
    found = geometry(module, axes)
    if found is None:
        return None
    scale_, first, reach = parts[0]
    return (
        tuple(s * stride for s, (_, stride, _) in zip(scale_, found, strict=True)),
        tuple(f - s * padding for f, s, (_, _, padding) in zip(first, scale_, found, strict=True)),
        tuple(r + (kernel - 1) * s for r, s, (kernel, _, _) in zip(reach, scale_, found, strict=True)),
    )


def geometry(module: nn.Module, axes: int) -> list[tuple[int, int, int]] | None:
    """(kernel, stride, padding) of the layer along each axis, dilation counted into the kernel: (k - 1) dilation + 1.

    >>> geometry(nn.Conv2d(1, 1, (3, 5), stride=2, padding=1, dilation=(2, 1)), 2)
    [(5, 2, 1), (5, 2, 1)]
    """

    def each(value: int | Sequence[int]) -> list[int]:
        return [value] * axes if isinstance(value, int) else [int(v) for v in value]

    padding, dilation = getattr(module, "padding", 0), each(getattr(module, "dilation", 1))
    if isinstance(padding, str) or getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    if getattr(module, "return_indices", False):
        return None
    kernel, stride = each(module.kernel_size), each(module.stride)  # type: ignore[arg-type]
    return [((k - 1) * d + 1, s, p) for k, s, p, d in zip(kernel, stride, each(padding), dilation, strict=True)]
