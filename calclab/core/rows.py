"""Rows that do not fit in memory: a tensor whose numbers are read when they are asked for.

An engine that takes its rows window by window (`windows`) works on these as on any tensor. What would take all of them
at once is refused, so that nothing is loaded in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from calclab.core.values import wide
from calclab.errors import UserError

Read = Callable[[Tensor], Tensor]  # the numbers of rows (b,), on the CPU, to these rows (b, ...)
SHARE = 8  # of the memory, for the rows of one window: they are read, converted, and go through a network
LEAST = 16  # rows of a window, however little memory is named: so many are looked at before anything is asked
ASKED = 2  # windows, at most, that are read together for who asks for so many


class Rows(Tensor):
    """Rows (B, *shape) without storage. A few of them, by a slice, a number or an index (b,), are a tensor like any
    other; more than a few windows of them are ``Rows`` again. ``memory`` is in bytes.

    >>> rows = Rows(lambda index: index[:, None] * torch.ones(3), (1000, 3), memory=1e6)
    >>> rows.shape, rows[:2]
    (torch.Size([1000, 3]), tensor([[0., 0., 0.],
            [1., 1., 1.]]))
    """

    read: Read
    memory: float
    each: int  # bytes that reading a row takes

    @staticmethod
    def __new__(
        cls,
        read: Read,
        shape: tuple[int, ...] | torch.Size,
        *,
        memory: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        each: int = 0,
    ) -> Rows:
        made: Rows = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=torch.device(device))
        made.read, made.memory = read, memory
        made.each = max(each, made.shape[1:].numel() * dtype.itemsize, 1)
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    @property
    def most(self) -> int:
        """How many rows a window has, at most."""
        return max(LEAST, int(self.memory / SHARE / self.each))

    def at(self, index: Tensor) -> Tensor:
        """The rows numbered ``index`` (b,), read; as ``Rows`` where they are too many."""
        if len(index) > ASKED * self.most:
            return Rows(
                lambda rows: self.read(index[rows]),
                (len(index), *self.shape[1:]),
                memory=self.memory,
                dtype=self.dtype,
                device=self.device,
                each=self.each,
            )
        with torch._C._DisableFuncTorch():  # no transform has a part in what is read
            found = self.read(index).to(dtype=self.dtype, device=self.device)
            return found.reshape(len(index), *self.shape[1:])

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same rows, each window of them as ``change`` makes it, row by row."""
        few = change(self[:1])

        def read(index: Tensor) -> Tensor:
            rows = self.read(index).to(dtype=self.dtype, device=self.device)
            return change(rows.reshape(len(index), *self.shape[1:]))

        shape = (len(self), *few.shape[1:])
        return Rows(read, shape, memory=self.memory, dtype=few.dtype, device=few.device, each=self.each)

    def __getitem__(self, key: Any) -> Tensor:
        count = len(self)
        if isinstance(key, int):
            if not -count <= key < count:
                raise IndexError(f"row {key} of {count}")
            return self.at(torch.tensor([key % count]))[0]
        if isinstance(key, slice):
            with torch._C._DisableFuncTorch():
                return self if key == slice(None) else self.at(torch.arange(count)[key])
        if isinstance(key, Tensor) and key.ndim == 1:
            return self.at(key.nonzero()[:, 0].cpu() if key.dtype is torch.bool else key.cpu())
        raise whole(self, "an index along other axes")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Rows({tuple(self.shape)}, {self.dtype}, {self.device})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        if name == "__get__" or name in KNOWN:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        rows: Rows = next(among((args, kwargs)))
        if name in CHANGES and args and args[0] is rows:
            return CHANGES[name](rows, *args[1:], **(kwargs or {}))
        raise whole(rows, name)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise whole(next(among((args, kwargs))), str(func))


KNOWN = ("__len__", "size", "dim", "numel", "is_floating_point", "is_complex", "element_size", "__hash__", "stride")


def whole(rows: Rows, what: str) -> UserError:
    size = rows.numel() * rows.dtype.itemsize
    return UserError(
        f"the {len(rows)} rows take {size / 1e9:.2g} gigabytes, more than the memory named ({rows.memory / 1e9:.2g}), "
        f"and what is asked needs all of them at once ({what}). Take fewer rows, or name more memory"
    )


def among(value: Any) -> Iterator[Rows]:
    """The rows in nested lists and dicts."""
    if isinstance(value, Rows):
        yield value
    elif isinstance(value, tuple | list | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from among(entry)


def flattened(rows: Rows, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    if start_dim != 1 or end_dim != -1:
        raise whole(rows, "flatten")
    return reshaped(rows, len(rows), -1)


def reshaped(rows: Rows, *shape: Any) -> Tensor:
    wanted = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if wanted[0] not in (len(rows), -1):
        raise whole(rows, "reshape")
    return rows.map(lambda part: part.reshape(len(part), *wanted[1:]))


def cut(rows: Rows, size: int, dim: int = 0) -> Iterator[Tensor]:
    if dim != 0:
        raise whole(rows, "split")
    for first in range(0, len(rows), min(size, rows.most)):
        yield rows[first : first + min(size, rows.most)]


def total(rows: Rows, dim: int | None = None, **_: Any) -> Tensor:
    """Σ over the rows, entry by entry, in float64 on the way."""
    if dim != 0:
        raise whole(rows, "sum")
    dtype = wide(rows.device) if rows.is_floating_point() else rows.dtype
    found = torch.zeros(rows.shape[1:], dtype=dtype, device=rows.device)
    for window in windows(rows):
        found += rows[window].sum(0, dtype=dtype)
    return found.to(rows.dtype)


CHANGES: dict[str, Callable[..., Any]] = {
    "flatten": flattened,
    "reshape": reshaped,
    "view": reshaped,
    "split": cut,
    "detach": lambda rows: rows,
    "contiguous": lambda rows, **_: rows,
    "to": lambda rows, *args, **kwargs: rows.map(lambda part: part.to(*args, **kwargs)),
    "sum": total,
    "mean": lambda rows, dim=None, **_: total(rows, dim) / len(rows),
    "new_zeros": lambda rows, *shape: torch.zeros(*shape, dtype=rows.dtype, device=rows.device),
    "long": lambda rows: rows.map(lambda part: part.long()),
}


def windows(*tensors: Tensor) -> list[slice]:
    """All rows of tensors that belong together, in pieces that are read at once; one piece where they are in memory."""
    count = len(tensors[0])
    most = min([part.most for part in tensors if isinstance(part, Rows)], default=max(1, count))
    return [slice(first, min(first + most, count)) for first in range(0, count, most)] or [slice(0, 0)]


def row_wise(rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """What ``change`` makes of each row by itself, given many."""
    return rows.map(change) if isinstance(rows, Rows) else change(rows)
