"""Large tensors of a checkpoint in a file of their own that only grows: a row that is as it was is not written again.

The basis of a search is a few hundred megabytes, of which a step changes one row. What a checkpoint holds of such a
tensor is where each row stands in the file and two checksums of it. The file is never changed in place, so that the
checkpoint before stays whole until the next one takes its name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import torch
from torch import Tensor

NAMES = ("checkpoint.rows", "checkpoint.rows2")  # by turns: the second is begun when most of the first is of no use
LEAST = 2**22  # bytes of a tensor from which on its rows are worth it
WASTE = 2  # times as many bytes as are of use, and the file is begun anew
ROWS = "rows kept beside"  # what marks a tensor's place in a state

Piece = tuple[int, int, int]  # offset in the file, CRC-32 and CRC-32C of a row


class RowFile:
    """The file of one run in ``folder``, and what it is known to hold: of each tensor (by name) its rows' places."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = next((name for name in NAMES if (folder / name).is_file()), NAMES[0])
        self.pieces: dict[str, list[Piece]] = {}

    def put(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """``state`` with its large tensors written to the file, each a mapping that says where its rows are."""
        path, live = self.folder / self.name, sum(size(t) for _, t in large(state))
        if path.is_file() and path.stat().st_size > WASTE * max(live, LEAST):
            self.name, self.pieces = NAMES[1 - NAMES.index(self.name)], {}
            path = self.folder / self.name
            path.unlink(missing_ok=True)
        if not live:
            return dict(state)
        with path.open("ab") as file:
            return self.replaced(state, "", file)

    def replaced(self, state: Mapping[str, Any], above: str, file: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in state.items():
            if isinstance(value, Mapping):
                found[name] = self.replaced(value, f"{above}{name}.", file)
            elif is_large(value):
                pieces = self.pieces[above + name] = list(written(value, self.pieces.get(above + name, []), file))
                kind = str(value.dtype).removeprefix("torch.")
                found[name] = {ROWS: self.name, "dtype": kind, "shape": list(value.shape), "pieces": pieces}
            else:
                found[name] = value
        return found

    def settle(self) -> None:
        """The checkpoint that names this file is written: the other is of no use any more."""
        (self.folder / NAMES[1 - NAMES.index(self.name)]).unlink(missing_ok=True)


def is_large(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2 and len(value) > 1 and size(value) >= LEAST


def size(t: Tensor) -> int:
    return t.numel() * t.element_size()


def large(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from large(value)
        elif is_large(value):
            yield name, value


def octets(row: Tensor) -> memoryview:
    flat = row.contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat.data


def sums(row: memoryview) -> tuple[int, int]:
    return zlib.crc32(row), google_crc32c.value(row.tobytes())


def written(value: Tensor, before: list[Piece], file: Any) -> Iterator[Piece]:
    """Where each row stands once those that changed since ``before`` are appended; rows of zeros are written once."""
    zero: Piece | None = None
    for i, row in enumerate(value.detach()):
        blank = not bool(row.any())
        if blank and zero is not None:
            yield zero
            continue
        raw = octets(row.cpu())
        found = sums(raw)
        if i < len(before) and before[i][1:] == found:
            piece = before[i]
        else:
            piece = (file.tell(), *found)
            file.write(raw)
        zero = piece if blank else zero
        yield piece


def whole(state: Mapping[str, Any], folder: Path, device: torch.device) -> dict[str, Any] | str:
    """The state that `RowFile.put` was given; the name of the file where a row of it is damaged."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        if not isinstance(value, Mapping):
            found[name] = value
            continue
        inner = read(value, folder) if ROWS in value else whole(value, folder, device)
        if isinstance(inner, str):
            return inner
        found[name] = inner.to(device) if isinstance(inner, Tensor) else inner
    return found


def read(kept: Mapping[str, Any], folder: Path) -> Tensor | str:
    path = folder / kept[ROWS]
    made = torch.empty(kept["shape"], dtype=getattr(torch, kept["dtype"]))
    if not path.is_file():
        return path.name
    with path.open("rb") as file:
        for row, (offset, *expected) in zip(made, kept["pieces"], strict=True):
            raw = octets(row)
            file.seek(offset)
            if file.readinto(raw) != prod(row.shape) * row.element_size() or list(sums(raw)) != list(expected):
                return path.name
    return made
