"""Arrays in a file: NumPy's .npz and .npy, torch's .pt, and .safetensors. No file is unpickled beyond plain tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from calclab.core import Data, Rows
from calclab.core.layout import TARGETS
from calclab.data.custom import finished
from calclab.data.finish import Common
from calclab.data.rows import KEPT, data
from calclab.data.store import Growing
from calclab.errors import UserError

INPUTS = ("X", "x", "inputs", "input", "features", "data", "images", "input_ids")  # what files call the inputs
WANTED = ("y", "Y", *TARGETS[:-1], "classes")  # and what is to be predicted
PIECE = 2**24  # bytes of a packed array that are read at once
SUFFIXES = ".npz, .npy, .pt, .pth or .safetensors"


def arrays(
    *,
    path: str | None,
    inputs: str | Sequence[str] | None,
    target: str | None,
    features: Sequence[str] | None,
    classes: Sequence[str] | None,
    rows: int | None,
    memory: float,
    **common: Unpack[Common],
) -> Data:
    """Data from the file ``path``: the array named ``inputs`` and the one to predict, ``target``. Of a .npy file, which
    holds one array, ``target`` is the path of another. Large arrays are read window by window, from where they are.
    """
    if path is None:
        raise UserError(f"data=arrays needs a file ({SUFFIXES}). Type data.path=rows.npz")
    room = memory * 1e9
    held = read(path, "path", room)
    if isinstance(held, Tensor):
        x: Any = held
        y = None if target is None else read(target, "target", room)
        if isinstance(y, dict):
            raise UserError(f"data.target={target}: it holds several arrays. Name a .npy file, which holds one")
    else:
        names = [inputs] if isinstance(inputs, str) else inputs or [found(held, INPUTS, "inputs", path)]
        y = named(held, target, "target", path) if target else next((held[k] for k in WANTED if k in held), None)
        chosen = {name: named(held, name, "inputs", path) for name in names}
        x = chosen if len(chosen) > 1 else next(iter(chosen.values()))
    given = x if y is None else (x, y)
    known: dict[str, Any] = {"features": features or (), "classes": classes or (), "name": Path(path).stem}
    made = data(given, memory=memory, seed=common["seed"], dtype=torch.float64, **known)
    return finished(made, rows, **common)


def found(held: Mapping[str, Tensor], usual: Sequence[str], knob: str, path: str) -> str:
    """The name of an array that is called as such arrays are."""
    names = [name for name in usual if name in held]
    if names:
        return names[0]
    raise UserError(
        f"data.path={path}: it holds {', '.join(held)}, and none is called {', '.join(usual[:3])}. "
        f"Type data.{knob}={next(iter(held), 'X')}"
    )


def named(held: Mapping[str, Tensor], name: str, knob: str, path: str) -> Tensor:
    if name not in held:
        raise UserError(f"data.{knob}={name}: {path} holds {', '.join(held)}. Name one of these")
    return held[name]


def read(path: str, knob: str, room: float) -> Tensor | dict[str, Tensor]:
    """The array in a file, or its arrays by name. UserError with the reason where it cannot be read."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"data.{knob}={path}: there is no such file (looked in {Path.cwd()}). Type the path of one")
    readers: dict[str, Callable[[Path, float], Tensor | dict[str, Tensor]]]
    readers = {".npy": of_npy, ".npz": of_npz, ".pt": of_torch, ".pth": of_torch, ".safetensors": of_safetensors}
    if file.suffix.lower() not in readers:
        raise UserError(f"data.{knob}={path}: a file of arrays is needed, whose name ends in {SUFFIXES}")
    try:
        made = readers[file.suffix.lower()](file, room)
    except UserError:
        raise
    except Exception as error:  # whatever the readers raise, the file is at fault
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason or "weights_only" in reason.lower():
            reason = "it holds Python objects, which would have to be unpickled, and that runs code"
        raise UserError(
            f"data.{knob}={path}: the file cannot be read as arrays: {reason}. Save plain arrays of numbers"
        ) from error
    if isinstance(made, dict) and not made:
        raise UserError(f"data.{knob}={path}: the file holds no arrays")
    return made


def of_npy(file: Path, room: float) -> Tensor:
    return held_or_mapped(np.load(file, mmap_mode="r", allow_pickle=False), room)


def held_or_mapped(array: np.ndarray, room: float) -> Tensor:
    """An array that lies in a file: read now, or window by window where it is large."""
    usual = array.dtype.newbyteorder("=")
    if array.nbytes <= room / KEPT or not array.ndim:
        return torch.from_numpy(np.array(array, dtype=usual))
    few = torch.from_numpy(np.array(array[:1], dtype=usual))

    def rows(index: Tensor) -> Tensor:
        return torch.from_numpy(np.array(array[index.numpy()], dtype=usual))

    return Rows(rows, array.shape, memory=room, dtype=few.dtype)


def of_npz(file: Path, room: float) -> dict[str, Tensor]:
    """Each array, in pieces: what is packed cannot be mapped."""
    with zipfile.ZipFile(file) as packed:
        members = [name for name in packed.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): unpacked(packed, name, room) for name in members}


def unpacked(packed: zipfile.ZipFile, name: str, room: float) -> Tensor:
    with packed.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if dtype.hasobject:
            raise UserError(f"the array {name.removesuffix('.npy')} holds Python objects, which would be unpickled")
        if fortran or not shape or not np.prod(shape):
            with packed.open(name) as again:
                return torch.from_numpy(np.lib.format.read_array(again, allow_pickle=False))
        each = dtype.itemsize * int(np.prod(shape[1:]))
        column = Growing(name.removesuffix(".npy"), room / KEPT, lambda rows: rows.dtype)
        for part in pieces(stream, shape[0], each):
            rows = np.frombuffer(part, dtype).reshape(-1, *shape[1:])
            column.add(torch.from_numpy(rows.astype(dtype.newbyteorder("="))))
        if column.count != shape[0]:
            raise UserError(f"the array {name.removesuffix('.npy')} is cut off")
        return column.whole(room)


def pieces(stream: Any, count: int, each: int) -> Iterator[bytes]:
    most = max(1, PIECE // each)
    for first in range(0, count, most):
        wanted = each * min(most, count - first)
        part = bytearray()
        while len(part) < wanted and (more := stream.read(wanted - len(part))):
            part += more
        yield bytes(part[: len(part) // each * each])


def of_torch(file: Path, room: float) -> Tensor | dict[str, Tensor]:
    """What torch.save wrote: a tensor, a pair of inputs and targets, or tensors by name."""
    made = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    if isinstance(made, Tensor):
        return large(made, room)
    if isinstance(made, tuple | list) and len(made) <= 2 and all(isinstance(part, Tensor) for part in made):
        made = dict(zip(("X", "y"), made, strict=False))
    if not isinstance(made, Mapping) or not any(isinstance(part, Tensor) for part in made.values()):
        raise UserError(f"it holds a {type(made).__name__}: save tensors by name, torch.save({{'X': X, 'y': y}}, path)")
    return {str(name): large(part, room) for name, part in made.items() if isinstance(part, Tensor)}


def large(tensor: Tensor, room: float) -> Tensor:
    if tensor.nbytes <= room / KEPT or not tensor.ndim:
        return tensor
    return Rows(lambda index: tensor[index], tensor.shape, memory=room, dtype=tensor.dtype)


def of_safetensors(file: Path, room: float) -> dict[str, Tensor]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise UserError(f"{file.name} needs an extra: pip install 'calclab[safetensors]'") from None
    with safe_open(file, framework="pt") as held:
        return {name: large(held.get_tensor(name), room) for name in held.keys()}  # noqa: SIM118
