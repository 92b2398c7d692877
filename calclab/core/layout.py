"""Several tensors of a row, side by side in one: what a model with several inputs is given as one tensor of rows.

The lab knows rows as one tensor (B, d). A batch of a tokenizer, {"input_ids": (B, L), "attention_mask": (B, L)}, or a
pair of an image and its measures is packed into such a tensor, and unpacked again where the model is called.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.errors import UserError

TARGETS = ("labels", "label", "targets", "target", "y")  # what batches and models call what is to be predicted

Batch = Mapping[str, Tensor] | Sequence[Tensor]


@dataclass(frozen=True)
class Part:
    """One input of a model: its name, the shape of a row, and the dtype in which it was given."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    def entries(self) -> list[str]:
        """A name for each number of a row: input_ids[3], pixel_values[0,2,5]; of a single number, the part's own."""
        if not self.shape:
            return [self.name]
        places = itertools.product(*(map(str, range(size)) for size in self.shape))
        return [f"{self.name}[{','.join(place)}]" for place in places]

    def given(self, numbers: Tensor) -> Tensor:
        """The part (B, *shape) from its columns (B, width): whole numbers and bools in their own dtype, other numbers
        in the dtype of the columns, with their derivatives."""
        dtype = numbers.dtype if self.dtype.is_floating_point else self.dtype
        part = numbers.reshape(len(numbers), *self.shape).to(dtype)
        return part.clone(memory_format=torch.contiguous_format)  # that the model may view and write over


@dataclass(frozen=True)
class Layout:
    """How the inputs of a model lie in a row (d,), one after the other; ``named`` says whether the model takes them by
    name or in their order.

    >>> batch = {"input_ids": torch.tensor([[5, 7], [1, 0]]), "mask": torch.tensor([[True, True], [True, False]])}
    >>> layout = Layout.of(batch)
    >>> layout.pack(batch, torch.float64).tolist()
    [[5, 7, 1, 1], [1, 0, 1, 0]]
    >>> layout.features
    ('input_ids[0]', 'input_ids[1]', 'mask[0]', 'mask[1]')
    >>> layout.unpack(layout.pack(batch, torch.float64))["mask"].tolist()
    [[True, True], [True, False]]
    """

    parts: tuple[Part, ...]
    named: bool

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        """The layout of a batch: tensors (B, ...) by name, or in the order of the model's arguments."""
        named = isinstance(batch, Mapping)
        pairs = batch.items() if isinstance(batch, Mapping) else ((f"input{i}", x) for i, x in enumerate(batch))
        parts = tuple(Part(name, tuple(x.shape[1:]), x.dtype) for name, x in pairs)
        if not parts:
            raise UserError("a batch of the data is empty: it must hold at least one input of the model")
        return cls(parts, named)

    @property
    def whole(self) -> bool:
        """Whether all inputs are whole numbers: then so is the packed tensor."""
        return not any(part.dtype.is_floating_point for part in self.parts)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """A name for each number of a row (d,)."""
        return tuple(entry for part in self.parts for entry in part.entries())

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Which numbers of a row (d,) are whole ones or bools: no quantities, there is no derivative by them."""
        codes = [[not part.dtype.is_floating_point] * part.width for part in self.parts]
        return tuple(k for k, code in enumerate(itertools.chain(*codes)) if code)

    def pack(self, batch: Batch, dtype: torch.dtype) -> Tensor:
        """The rows of a batch as one tensor (B, d), in ``dtype``, or in int64 where all are whole numbers. UserError
        for a batch of another layout, and for whole numbers that ``dtype`` does not hold."""
        found = dict(batch) if isinstance(batch, Mapping) else {f"input{i}": x for i, x in enumerate(batch)}
        if list(found) != [part.name for part in self.parts]:
            raise UserError(
                f"the batches of the data are not alike: one has {', '.join(found)}, and the first had "
                f"{', '.join(part.name for part in self.parts)}"
            )
        rows = {name: len(x) if x.ndim else 0 for name, x in found.items()}
        if len(set(rows.values())) > 1:
            counts = ", ".join(f"{count} of {name}" for name, count in rows.items())
            raise UserError(f"the inputs of a batch have different numbers of rows: {counts}")
        dtype = torch.int64 if self.whole else dtype
        return torch.cat([self.columns(part, found[part.name], dtype) for part in self.parts], dim=1)

    def columns(self, part: Part, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The columns (B, width) of one part."""
        if tuple(x.shape[1:]) != part.shape:
            raise UserError(
                f"a row of {part.name} is {tuple(x.shape[1:])} in one batch and {part.shape} in the first: all rows "
                "must be of one length. Pad them (a tokenizer: padding='max_length', max_length=...)"
            )
        columns = x.detach().reshape(len(x), part.width).to(dtype)
        if not x.is_floating_point() and not torch.equal(columns.to(x.dtype), x.reshape(len(x), part.width)):
            raise UserError(f"{part.name} holds whole numbers that {dtype} does not: compute in float64")
        return columns

    def unpack(self, inputs: Tensor) -> dict[str, Tensor]:
        """The inputs of the model by name, each (B, *shape), from rows (B, d) or (B, ...) of as many numbers."""
        columns = inputs.reshape(len(inputs), -1)
        bounds = itertools.pairwise(itertools.accumulate((part.width for part in self.parts), initial=0))
        return {part.name: part.given(columns[:, a:b]) for part, (a, b) in zip(self.parts, bounds, strict=True)}

    def arguments(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """What the model is called with: positional arguments, or keywords."""
        found = self.unpack(inputs)
        return ((), dict(found)) if self.named else (tuple(found.values()), {})
