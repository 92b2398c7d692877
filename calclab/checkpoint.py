"""Where a run stood: the scan's state, and how long each of its files was. A state is a value, so it can be saved.

A checkpoint is saved after the sinks have written, and whole or not at all. Going on, ``restore`` makes the files
forget what came after it; a scan depends on nothing but its state and k, so what follows is what would have followed.

Disks and copies change bytes, and torch.load notices few of those changes. So a checkpoint ends with a CRC-32 of its
own, and holds one of each of the files as it was: what is damaged is begun anew, never believed.
"""

from __future__ import annotations

import csv
import io
import os
import zlib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch

from calclab.core import Evidence, Scan, State, Status, Verdict
from calclab.grown import NAMES, RowFile, whole

NAME = "checkpoint.pt"
SCALARS = "scalars.csv"  # the one file whose columns may grow
LIST = ".files"  # the names of the run's own files, which only ever grows
PATTERNS = ("*.csv", "*.parquet", "events.out.tfevents.*", LIST)
SEAL = b"\ncalclab crc32 %08x\n"  # after torch's own bytes, which it does not disturb
SEALED = len(SEAL % 0)
CHUNK = 2**20
Own = Callable[[str], bool]
Mark = tuple[int, int]  # a file's length, and the CRC-32 of so many bytes


def every(name: str) -> bool:
    """In a folder that nobody else writes to, each file is the run's own."""
    return True


def save(
    folder: Path,
    scan: Scan,
    seconds: float,
    own: Own = every,
    known: MutableMapping[str, Mark] | None = None,
    rows: RowFile | None = None,
) -> None:
    """Write checkpoint.pt; ``seconds`` is the time spent so far, ``own`` tells the names of the run's own files.

    ``known`` keeps what was read of the files from one checkpoint to the next, ``rows`` what was written of tensors.
    """
    rows = RowFile(folder) if rows is None else rows
    content = {
        "step": scan.step,
        "state": rows.put(scan.state),
        "last": compact(scan.last),
        "evidence": [{**vars(row), "verdict": row.verdict.name} for row in scan.evidence],
        "seconds": seconds,
        "files": marks(folder, own, {} if known is None else known),
        "header": header(folder),
    }
    temporary = folder / f".{NAME}"
    try:
        with temporary.open("wb") as file:  # torch's own writer makes a RuntimeError of a full disk
            body = packed(content)
            file.write(body)
            file.write(SEAL % zlib.crc32(body))
        os.replace(temporary, folder / NAME)
        rows.settle()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def compact(last: Mapping[str, torch.Tensor]) -> State:
    """The values without the columns that they are rows of: torch would save those whole."""
    return {name: value.clone() for name, value in last.items()}


def packed(content: object) -> memoryview:
    """What torch.save writes, without checksums of its own: they take longer than all else, and torch reads none."""
    buffer = io.BytesIO()
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, buffer)
    finally:
        torch.serialization.set_crc32_options(before)
    return buffer.getbuffer()


def load(
    folder: Path, device: torch.device, own: Own = every, say: Callable[[str], None] = lambda text: None
) -> tuple[Scan, float] | None:
    """The scan as it was saved and the seconds spent, the files cut back to it.

    None without one; and where it or a file is damaged, or has been left short by a power cut, which ``say`` is told.
    None of the run's own files is there then.
    """
    content = unpacked(folder / NAME, device)
    state = "" if isinstance(content, str) else whole(content["state"], folder, device)
    damaged = content if isinstance(content, str) else state if isinstance(state, str) else ""
    if not damaged and not isinstance(content, str):
        damaged = restore(folder, content["files"], content["header"], own)
    if damaged or isinstance(content, str) or isinstance(state, str):
        if damaged:
            say(f"{damaged} is damaged: the run is begun anew")
        known: Mapping[str, Any] = {} if isinstance(content, str) else content["files"]
        clear(folder, lambda name: own(name) or name in known)
        return None
    sweep(folder, own)
    evidence = [Evidence(**{**row, "verdict": Verdict[row["verdict"]]}) for row in content["evidence"]]
    last = {name: value.cpu() for name, value in content["last"].items()}
    scan = Scan(Status.INTERRUPTED, content["step"], state, last, evidence)
    return scan, content["seconds"]


def unpacked(path: Path, device: torch.device) -> dict[str, Any] | str:
    """What a checkpoint holds; where it is damaged, its name; where there is none, nothing."""
    if not path.is_file():
        return ""
    size = path.stat().st_size - SEALED
    with path.open("rb") as file:
        file.seek(max(0, size))
        if size <= 0 or file.read() != SEAL % mark(path, size=size)[1]:
            return NAME
    return torch.load(path, map_location=device, weights_only=True)


def marks(folder: Path, own: Own, known: MutableMapping[str, Mark]) -> dict[str, Mark]:
    """The length and the CRC-32 of each file; only what was written since ``known`` is read."""
    columns = header(folder)
    found = {}
    for name in present(folder, own):
        key = f"{name} {columns}" if name == SCALARS else name  # with more columns it is written anew
        found[name] = known[key] = mark(folder / name, known.get(key, (0, 0)))
    return found


def mark(path: Path, before: Mark = (0, 0), size: int | None = None) -> Mark:
    """The length and the CRC-32 of the first ``size`` bytes of a file (default: all), those ``before`` not read."""
    length, crc = before
    with path.open("rb", buffering=0) as file:
        if length:
            file.seek(length)
        while piece := file.read(CHUNK if size is None else min(CHUNK, size - length)):
            length, crc = length + len(piece), zlib.crc32(piece, crc)
    return length, crc


def present(folder: Path, own: Own) -> list[str]:
    """The files that a checkpoint speaks of."""
    return [path.name for pattern in PATTERNS for path in folder.glob(pattern) if own(path.name) and path.is_file()]


def header(folder: Path) -> str:
    """The first line of scalars.csv."""
    path = folder / SCALARS
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.readline().decode("utf-8", "replace")


def restore(folder: Path, files: Mapping[str, Mark], columns: str, own: Own) -> str:
    """Cut every file back to what it was; remove those that were not there yet. The name of one that is damaged."""
    if SCALARS in files and header(folder) not in (columns, ""):
        narrow(folder / SCALARS, columns)
    for name, (size, crc) in files.items():
        path = folder / name
        if not path.is_file() or mark(path, size=size) != (size, crc):
            return name
    for name in set(present(folder, own)) - {LIST}:
        if name not in files:
            (folder / name).unlink()
        elif (folder / name).stat().st_size > files[name][0]:
            os.truncate(folder / name, files[name][0])
    return ""


def narrow(path: Path, columns: str) -> None:
    """Take away the columns that scalars.csv has gained since: they stand at the end of every line."""
    count = len(next(csv.reader([columns])))
    temporary = path.with_suffix(".csv.part")
    with path.open("rb") as old, temporary.open("wb") as new:
        old.readline()
        new.write(columns.encode())
        new.writelines(b",".join(line.rstrip(b"\n").split(b",")[:count]) + b"\n" for line in old)
    os.replace(temporary, path)


def sweep(folder: Path, own: Own = every) -> None:
    """Away with what an attempt has left that was killed (hidden files and *.part, half written) or failed."""
    for path in (*folder.glob(".*"), *folder.glob("*.part"), *folder.glob("error.log")):
        if path.name != LIST and path.is_file() and own(path.name):
            path.unlink()


def clear(folder: Path, own: Own = every) -> None:
    """Nothing of an earlier attempt is kept but the list of its files; all that is not its own stays."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != NAME) if folder.is_dir() else ():
        if path.is_file() and path.name != LIST and own(path.name):
            path.unlink()


def finish(folder: Path) -> None:
    """The run has ended: no more need of a checkpoint."""
    for name in (*NAMES, NAME):
        (folder / name).unlink(missing_ok=True)
