"""Rows as they come, batch after batch: kept in memory while they are few, in a temporary file once they are many."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calclab.core import Rows
from calclab.data.batch import refuse_unknown
from calclab.errors import UserError

SPARE = 0.05  # of the disk, which is left free
LOOK = 2**28  # bytes from one look at the disk's room to the next


class Store:
    """Rows of one shape and dtype in a file without a name: it goes with the process. Reads share no position, so that
    processes forked from this one may read as well."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.each = shape.numel() * dtype.itemsize
        self.folder = tempfile.gettempdir()
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  it lives as long as its rows
        self.count = 0
        self.looked = LOOK

    def append(self, rows: Tensor) -> None:
        """Write rows (b, *shape) behind those that are there. UserError where the disk has no room for them."""
        left = memory_of(rows.contiguous())
        self.looked += len(left)
        if self.looked >= LOOK:
            self.looked = 0
            disk = shutil.disk_usage(self.folder)
            if disk.free < SPARE * disk.total + len(left):
                raise self.full()
        try:
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self.full() from None
            raise
        self.count += len(rows)

    def full(self) -> UserError:
        return UserError(
            f"the rows fill the disk: {self.count * self.each / 1e9:.3g} gigabytes are in a file in {self.folder}, and "
            "there is no room for more. Name a larger place by the variable TMPDIR, give fewer rows "
            "(itertools.islice, torch.utils.data.Subset), or name more memory"
        )

    def read(self, index: Tensor) -> Tensor:
        """The rows numbered ``index`` (b,); those that follow one another in one go."""
        found = torch.empty(len(index), *self.shape, dtype=self.dtype)
        room = memory_of(found)
        breaks = ((index[1:] - index[:-1]) != 1).nonzero()[:, 0].add(1).tolist()
        for first, last in zip([0, *breaks], [*breaks, len(index)], strict=True):
            part, place = room[first * self.each : last * self.each], int(index[first]) * self.each
            while part:
                got = os.preadv(self.file.fileno(), [part], place)
                if not got:
                    raise OSError(f"the temporary file of rows in {self.folder} was cut off")
                part, place = part[got:], place + got
        return found


def memory_of(rows: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, to be read or written."""
    return rows.reshape(-1).view(torch.uint8).numpy().data


class Growing:
    """A column of rows as it grows. All batches have the same shape and dtype, as the first one has. ``meant`` says in
    which dtype rows will be looked at: those that would then take more than ``room`` bytes go to a file."""

    def __init__(self, name: str, room: float, meant: Callable[[Tensor], torch.dtype]) -> None:
        self.name, self.room, self.meant = name, room, meant
        self.first = torch.empty(0)  # no more than a row of the first batch
        self.parts: list[Tensor] = []
        self.store: Store | None = None
        self.count = 0

    def add(self, rows: Tensor) -> None:
        rows = rows.detach().cpu()
        rows = rows.float() if rows.dtype is torch.bfloat16 else rows
        if self.count and (rows.shape[1:] != self.first.shape[1:] or rows.dtype != self.first.dtype):
            raise UserError(
                f"batches disagree: {self.name} of the first are {told(self.first)}, and from row {self.count} on "
                f"{told(rows)}. Give rows of one shape and dtype (pad them, or convert them in the dataset)"
            )
        if not self.count:
            self.first = rows[:1].clone()
        refuse_unknown(rows, self.name, self.count)
        self.count += len(rows)
        if self.store is None:
            self.parts.append(rows.clone() if len(rows) else rows)  # a loader may use its memory again
            if self.count * rows.shape[1:].numel() * self.meant(rows).itemsize > self.room:
                self.store = Store(rows.shape[1:], rows.dtype)
                for part in self.parts:
                    self.store.append(part)
                self.parts = []
        else:
            self.store.append(rows)

    def whole(self, memory: float) -> Tensor:
        """All rows: a tensor where they fit, else `Rows` that read the file."""
        if self.store is None:
            return joined(self.parts)
        shape = (self.count, *self.store.shape)
        return Rows(self.store.read, shape, memory=memory, dtype=self.store.dtype)


def joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def told(rows: Tensor) -> str:
    return f"{tuple(rows.shape[1:])} of {str(rows.dtype).removeprefix('torch.')}"
