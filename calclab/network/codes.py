"""Columns that are codes: what a network looks something up by. A code is no quantity: it is not scaled, it has no
fractions, and there is no derivative by it.

Which columns are codes is found by trying: a column is one if another number in it asks for another entry of a table
(of an embedding, or of anything that is indexed). While it is tried every index is brought into the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.core.mode import Mode
from calclab.errors import UserError
from calclab.network.stateless import kept

STEP = 3.0  # another code, however it is rounded
ROUNDINGS = 16  # units in the last place that scaling forth and back may cost
SHOWN = 5
ATEN = torch.ops.aten
CASTS = (ATEN._to_copy.default,)
TABLES: dict[Any, tuple[int, Callable[[Sequence[Any]], int]]] = {  # where the index stands, and how long the table is
    ATEN.embedding.default: (1, lambda a: a[0].shape[0]),
    ATEN._embedding_bag.default: (1, lambda a: a[0].shape[0]),
    ATEN._embedding_bag_forward_only.default: (1, lambda a: a[0].shape[0]),
    ATEN.index_select.default: (2, lambda a: a[0].shape[a[1]]),
    ATEN.gather.default: (2, lambda a: a[0].shape[a[1]]),
}


class Lookups(Mode):
    """What is looked up while it is on: every index as it was asked for, and whether a fraction was cut off on the way
    from a number to an index."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []
        self.cut = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in CASTS and args[0].is_floating_point() and whole(kwargs.get("dtype")):
            self.cut |= bool((args[0] != args[0].trunc()).any())
        elif func in TABLES:
            at, length = TABLES[func]
            args = (*args[:at], self.within(args[at], length(args)), *args[at + 1 :])
        elif func is ATEN.index.Tensor:
            indices = [
                i if i is None or not whole(i.dtype) else self.within(i, args[0].shape[place])
                for place, i in enumerate(args[1])
            ]
            args = (args[0], indices, *args[2:])
        return func(*args, **kwargs)

    def within(self, index: Tensor, length: int) -> Tensor:
        self.asked.append(index.detach().clone())
        return index.clamp(0, max(0, length - 1))


def whole(dtype: torch.dtype | None) -> bool:
    return dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def with_codes(module: nn.Module, data: Data) -> Data:
    """``data`` as ``module`` takes it: columns that are codes are as the user gave them, and named. UserError for a
    fraction in one of them."""
    if data.inputs.is_meta or not data.inputs.is_floating_point():
        return data
    if data.layout is not None:  # which was told the dtypes of the inputs
        return replace(data, codes=data.layout.codes)
    codes = found(module, data)
    if not codes:
        return data
    raw = own_numbers(data, codes)
    for part in (raw, *([] if raw.held_out is None else [raw.held_out])):
        refuse_fractions(module, part, codes)
    names = listed(data, codes)
    notes = [
        f"{note}, but for {names}" if note.startswith("inputs standardised") and data.units is not None else note
        for note in data.notes
    ]
    verb = "are codes" if len(codes) > 1 else "is a code"
    return replace(raw, notes=(*notes, f"{names} {verb}: the network looks something up by it"), codes=codes)


def found(module: nn.Module, data: Data) -> tuple[int, ...]:
    """The numbers of the inputs, flattened, by which ``module`` looks something up."""
    rows = own_numbers(data.some(2), range(data.inputs[0].numel())).inputs
    flat = rows.flatten(1)

    def asked(columns: Sequence[int]) -> list[Tensor] | None:
        moved = flat.clone()
        moved[:, list(columns)] += STEP
        return lookups(module, moved.reshape(rows.shape)).asked

    try:
        before = asked([])
        return tuple(those(asked, before, range(flat.shape[1]))) if before else ()
    except Exception:  # what does not run on these rows is told of by who looks at it next
        return ()


def those(asked: Callable[[Sequence[int]], Any], before: Sequence[Tensor], columns: Sequence[int]) -> list[int]:
    """Those of ``columns`` that change what is asked for: halves in which nothing does are left at once."""
    if not columns or same(asked(columns), before):
        return []
    if len(columns) == 1:
        return [columns[0]]
    half = len(columns) // 2
    return those(asked, before, columns[:half]) + those(asked, before, columns[half:])


def same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def lookups(module: nn.Module, rows: Tensor) -> Lookups:
    with torch.no_grad(), kept(module), Lookups() as seen:
        module(rows.clone())
    return seen


def own_numbers(data: Data, columns: Sequence[int]) -> Data:
    """``data`` with the inputs numbered ``columns`` in the user's own numbers; whole ones to the last digit."""
    held = None if data.held_out is None else own_numbers(data.held_out, columns)
    if data.units is None:
        return data
    at = list(columns)
    shift, scale = data.units.shift.clone(), data.units.scale.clone()
    flat = data.inputs.flatten(1).clone()
    back = flat[:, at] * scale[at]
    noise = ROUNDINGS * torch.finfo(flat.dtype).eps * (shift[at].abs() + back.abs())
    back = back + shift[at]
    flat[:, at] = torch.where((back - back.round()).abs() <= noise, back.round(), back)
    shift[at], scale[at] = 0.0, 1.0
    units = replace(data.units, shift=shift, scale=scale)
    return replace(data, inputs=flat.reshape(data.inputs.shape), units=units, held_out=held)


def refuse_fractions(module: nn.Module, data: Data, codes: Sequence[int]) -> None:
    """UserError where a row has a fraction that would be cut off; one that the network itself rounds is its affair."""
    values = data.inputs.flatten(1)[:, list(codes)]
    broken = (values != values.trunc()).any(1).nonzero()[:, 0]
    if not len(broken) or not lookups(module, data.inputs[broken[:1]]).cut:
        return
    row = int(broken[0])
    place = int((values[row] != values[row].trunc()).nonzero()[0])
    name = data.features[codes[place]]
    number = row if data.places is None else int(data.places[row])
    raise UserError(
        f"the network does not take this data: {name} is {float(values[row, place]):g} in row {number}, and something "
        "is looked up by it (an embedding takes codes): whole numbers are needed, and nothing is cut off. Number its "
        "categories 0, 1, 2, ..., leave rows out where it is missing (data.missing=drop), or give it to a layer that "
        "takes quantities"
    )


def listed(data: Data, codes: Sequence[int]) -> str:
    names = [data.features[code] for code in codes]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
