"""Rows of the user's own: tensors, arrays, a DataFrame, a Dataset, a DataLoader, batches of any kind, as ``core.Data``.

What is given is read and never changed. A loader is gone through once, in its own order; rows that fit in memory are
joined, others are written to a temporary file, from which they are read window by window (`core.Rows`).
"""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, default_collate

from calclab.core import Data, Layout, Rows
from calclab.core.rows import row_wise, windows
from calclab.data.batch import FORMS, Batch, array, batch, refuse_unknown, several, tensor
from calclab.data.store import Growing
from calclab.errors import UserError

TOGETHER = 256  # rows of a Dataset that are joined at once
MEMORY = 2.0  # gigabytes, where nobody says how many
KEPT = 4  # part of the memory that rows may take which are kept there
IMAGE = 3  # axes of a row from which on bytes are pixels, and no codes


def data(
    given: Any,
    *,
    target: str | None = None,
    features: Sequence[str] = (),
    classes: Sequence[str] = (),
    name: str = "data",
    memory: float | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Data:
    """``Data`` of what a user has in hand.

    ``given`` is a ``Data``; a pair (inputs (B, *shape), targets (B,) or (B, m)) of tensors or arrays; inputs alone; a
    DataFrame with its column ``target``; a torch Dataset; or any iterable of batches, a DataLoader among them. A batch
    is a tensor, a tuple whose last is the target, or a mapping whose ``target`` (else labels, targets or y) is.
    Whole numbers as targets (B,) are classes; numbers with a fraction are to be predicted. Inputs of whole numbers stay
    what they are: codes, such as tokens; bytes of images are numbers.

    Rows that take more than a quarter of ``memory`` gigabytes (None: 2) are read window by window. A pass through a
    loader draws from ``seed``, and leaves the random state outside as it was. Raises UserError for what is none of
    these.
    """
    if isinstance(given, Data):
        return given
    names, room = tuple(features), 1e9 * (MEMORY if memory is None else memory)
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        given, names = frame(given, target, names)
        target = None
    found = taken(given, target, room, dtype, seed)
    if isinstance(found.targets, Tensor) and len(found.targets) != len(found.inputs):
        raise UserError(
            f"{len(found.inputs)} rows of inputs and {len(found.targets)} of targets: there must be as many"
        )
    inputs, layout, width = found.inputs, found.layout, found.inputs.shape[1:].numel()
    if len(inputs) == 0:
        raise UserError(f"the data hold no rows: {FORMS}")
    if names and len(names) != width:
        raise UserError(f"{len(names)} features are named, and a row has {width} numbers")
    kind, notes = meant(inputs, dtype), list(found.notes)
    if inputs.dtype is torch.uint8 and kind.is_floating_point:
        notes.append("pixels (bytes) are taken as numbers from 0 to 255: divide them by 255 if the network wants that")
    if len(inputs.shape) == 4 and inputs.shape[3] in (1, 3, 4) and inputs.shape[1] not in (1, 3, 4):
        notes.append(
            f"the last axis of a row {tuple(inputs.shape[1:])} looks like its channels: convolutions take them first "
            "(X.transpose(0, 3, 1, 2))"
        )
    inputs = fitting(inputs, kind, room).to(device=device)
    wanted, classification = torch.zeros(len(inputs), 0, dtype=dtype, device=device), False
    if found.targets is not None:
        wanted, classification = as_targets(found.targets.to(device), dtype)
    count = int(wanted.max()) + 1 if classification else wanted.shape[1]
    if classes and len(classes) < count:
        raise UserError(f"{len(classes)} classes are named, and the targets have {count}")
    notes += windowed(inputs, found.place)
    return Data(
        name=name,
        inputs=inputs,
        targets=wanted,
        features=names or (tuple(f"x{k}" for k in range(width)) if layout is None else layout.features),
        classes=tuple(map(str, classes)) or tuple(f"{'class' if classification else 'y'}{k}" for k in range(count)),
        classification=classification,
        notes=tuple(notes),
        layout=layout,
    )


@dataclass(frozen=True)
class Taken:
    """All rows, as they were given; what there is to say of them; and where they are read if they do not fit."""

    inputs: Tensor
    targets: Tensor | None
    notes: tuple[str, ...] = ()
    place: str = ""
    layout: Layout | None = None


def taken(given: Any, target: str | None, room: float, dtype: torch.dtype, seed: int) -> Taken:
    """All rows of what is given."""
    pair = isinstance(given, tuple | list) and len(given) > 1 and all(map(array, given))
    pair |= isinstance(given, tuple) and len(given) == 2 and array(given[1]) and several(given[0], tensor(given[1], ""))
    if array(given) or pair or (isinstance(given, Mapping) and all(map(array, given.values()))):
        whole = batch(given, target)
        layout = whole.layout
        inputs = whole.rows(layout, dtype)
        inputs = mapped(given, inputs, room) if layout is None else inputs
        for window in windows(inputs):
            refuse_unknown(inputs[window], "inputs", window.start)
        return Taken(inputs, whole.targets, layout=layout)
    if target is not None and not isinstance(given, Mapping | Iterable):
        raise UserError(f"target={target!r} names a column, and the data are {type(given).__name__}")
    if isinstance(given, str | bytes | Mapping):
        raise UserError(f"the data are a {type(given).__name__}: {FORMS}")
    if hasattr(given, "__getitem__") and not isinstance(given, tuple | list | IterableDataset | DataLoader):
        given = DataLoader(given, batch_size=TOGETHER)  # a Dataset: rows one by one
    elif isinstance(given, IterableDataset):
        given = DataLoader(given, batch_size=TOGETHER)
    if not isinstance(given, Iterable):
        raise UserError(f"the data are a {type(given).__name__}: {FORMS}")
    with drawn(given, seed):
        return gone_through(given, target, room, dtype)


def gone_through(given: Iterable[Any], target: str | None, room: float, dtype: torch.dtype) -> Taken:
    """The rows of one pass, and what a second one shows of the loader."""
    inputs = Growing("inputs", room / KEPT, lambda rows: meant(rows, dtype))
    targets = Growing("targets", room / KEPT, lambda rows: dtype if rows.ndim > 1 else torch.int64)
    first: Batch | None = None
    layout: Layout | None = None
    for part in given:
        made = batch(part, target)
        if len(made) == 0:
            continue
        if first is None:
            first, layout = made, made.layout
        elif (made.targets is None) != (first.targets is None):
            raise UserError("some batches have targets and others none. Give them all, or none")
        inputs.add(made.rows(layout, dtype))
        if made.targets is not None:
            targets.add(made.targets)
    if first is None:
        raise UserError(f"the data hold no rows: {FORMS}")
    place = f" from a temporary file in {inputs.store.folder}" if inputs.store else ""
    notes = tuple(said(given, target, first, inputs.count))
    return Taken(inputs.whole(room), targets.whole(room) if targets.count else None, notes, place, layout)


def said(given: Iterable[Any], target: str | None, first: Batch, count: int) -> Iterator[str]:
    """Notes on a loader that gives other rows when it is asked again, or leaves some out."""
    if isinstance(given, Iterator):
        yield f"the data are an iterator, which gives its {count} rows once: they are kept"
        return
    loader = given if isinstance(given, DataLoader) else None
    again = next((made for made in (batch(part, target) for part in given) if len(made)), None)
    if again is None or not same(first, again):
        shuffled = loader is not None and isinstance(loader.sampler, RandomSampler)
        if shuffled and loader is not None and not changing(loader.dataset, target):
            yield "the loader shuffles: its rows are kept as one pass gave them"
        else:
            also = "shuffles, and the rows change" if shuffled else "gives other rows"
            yield (
                f"the loader {also} from pass to pass (drawn anew, augmented, dropped out?): what is said is of the "
                "rows of one pass, which are kept"
            )
    if loader is not None and loader.drop_last and hasattr(loader.dataset, "__len__"):
        left = len(loader.dataset) - count
        if left > 0:
            yield f"the loader leaves out {left} of {count + left} rows (drop_last)"


def changing(dataset: Any, target: str | None) -> bool:
    """Whether a Dataset gives another first row when it is asked again."""
    try:
        pair = [batch(default_collate([dataset[0]]), target) for _ in range(2)]
    except Exception:  # rows that only the user's own collate_fn puts together
        return False
    return not same(*pair)


def same(left: Batch, right: Batch) -> bool:
    """Whether two batches hold the same numbers."""
    pairs = [(tensor, right.inputs.get(name)) for name, tensor in left.inputs.items()]
    pairs += [] if left.targets is None else [(left.targets, right.targets)]
    return all(b is not None and a.shape == b.shape and torch.equal(a, b.to(a)) for a, b in pairs)


@contextmanager
def drawn(given: Any, seed: int) -> Iterator[None]:
    """Draws of the block come from ``seed``; afterwards the random state of torch, NumPy, Python and of the loader's
    own generators is as it was."""
    holders = (given, getattr(given, "sampler", None))
    generators = [g for g in (getattr(holder, "generator", None) for holder in holders) if g is not None]
    before = [g.get_state() for g in generators]
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            for generator, state in zip(generators, before, strict=True):
                generator.set_state(state)


def windowed(rows: Tensor, place: str = "") -> list[str]:
    """A note on rows that do not fit; none where they do."""
    if not isinstance(rows, Rows):
        return []
    size, room = rows.numel() * rows.dtype.itemsize / 1e9, rows.memory / 1e9
    said = f"the {len(rows)} rows take {size:.2g} gigabytes, more than a quarter of the memory named ({room:.2g})"
    return [f"{said}: they are read{place}, {rows.most} at a time"]


def mapped(given: Any, rows: Tensor, room: float) -> Tensor:
    """The rows of a file that is mapped into memory (numpy.memmap), window by window where they are many."""
    first = given if array(given) else next(iter(given.values() if isinstance(given, Mapping) else given))
    on_disk = isinstance(first, np.memmap) or isinstance(getattr(first, "base", None), np.memmap | mmap.mmap)
    if not on_disk or rows.nbytes <= room / KEPT:
        return rows
    return Rows(lambda index: rows[index], rows.shape, memory=room, dtype=rows.dtype)


def meant(rows: Tensor, dtype: torch.dtype) -> torch.dtype:
    """What rows are looked at in: numbers in ``dtype``, whole numbers as codes (int64), pixels as numbers."""
    pixels = rows.dtype is torch.uint8 and rows.ndim > IMAGE - 1
    return dtype if rows.is_floating_point() or rows.dtype is torch.bool or pixels else torch.int64


def fitting(rows: Tensor, kind: torch.dtype, room: float) -> Tensor:
    """Rows (B, ...) in the dtype ``kind``: converted, or window by window where that takes too much."""
    if isinstance(rows, Rows):
        return row_wise(rows, lambda part: part.to(kind))
    if rows.dtype is kind or rows.numel() * kind.itemsize <= room / KEPT:
        return rows.to(kind)
    return Rows(lambda index: rows[index], rows.shape, memory=room, dtype=rows.dtype).map(lambda part: part.to(kind))


def as_targets(targets: Tensor, dtype: torch.dtype) -> tuple[Tensor, bool]:
    """Targets as ``Data`` has them, and whether they are classes. Several whole numbers a row stay such, tokens, unless
    each row has a single 1 among zeros."""
    if targets.ndim == 1:  # a number a row is kept, whatever the memory
        targets = torch.cat([targets[window] for window in windows(targets)])
    if not targets.is_floating_point() and not one_hot(targets) and (targets.ndim == 1 or targets.dtype != torch.bool):
        return row_wise(targets, lambda part: part.long()), targets.ndim == 1

    def numbers(part: Tensor) -> Tensor:
        return part.to(dtype).reshape(len(part), -1) if part.ndim == 1 else part.to(dtype)

    return row_wise(targets, numbers), False


def one_hot(targets: Tensor) -> bool:
    """Whether whole numbers (B, m) are classes written as a 1 in their place."""
    few = targets[: targets.most] if isinstance(targets, Rows) else targets
    return few.ndim == 2 and few.shape[1] > 1 and bool(((few == 0) | (few == 1)).all() and (few.sum(1) == 1).all())


def frame(given: Any, target: str | None, names: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """Inputs and targets of a DataFrame of numbers, and the names of its columns."""
    columns = [column for column in given.columns if column != target]
    if target is not None and len(columns) == len(given.columns):
        raise UserError(f"target={target!r}: there is no such column. There are: {', '.join(map(str, columns))}")
    wrong = [column for column in given.columns if given[column].dtype.kind not in "iufb"]
    if wrong:
        raise UserError(f"the column {wrong[0]!r} holds no numbers. Encode it, or ask for data=table data.path=my.csv")
    inputs = torch.tensor(given[columns].to_numpy(dtype="float64"))
    if bool(inputs.isnan().any()):
        raise UserError("values are missing in the table: fill them first, or ask for data=table data.path=my.csv")
    targets = None if target is None else torch.tensor(given[target].to_numpy())
    return (inputs,) if targets is None else (inputs, targets), tuple(names) or tuple(map(str, columns))
