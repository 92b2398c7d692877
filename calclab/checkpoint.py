"""Where a run stood: the scan's state, and how long each of its files was. A state is a value, so it can be saved.

A checkpoint is saved after the sinks have written, and whole or not at all. Going on, ``restore`` makes the files
forget what came after it; a scan depends on nothing but its state and k, so what follows is what would have followed.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from calclab.core import Evidence, Scan, Status, Verdict

NAME = "checkpoint.pt"
PATTERNS = ("*.csv", "*.parquet", "events.out.tfevents.*")


def save(folder: Path, scan: Scan, seconds: float) -> None:
    """Write checkpoint.pt; ``seconds`` is the time spent so far."""
    content = {
        "step": scan.step,
        "state": scan.state,
        "last": dict(scan.last),
        "evidence": [{**vars(row), "verdict": row.verdict.name} for row in scan.evidence],
        "seconds": seconds,
        "files": sizes(folder),
        "header": header(folder),
    }
    temporary = folder / f".{NAME}"
    try:
        with temporary.open("wb") as file:  # torch's own writer makes a RuntimeError of a full disk
            file.write(packed(content))
        os.replace(temporary, folder / NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def packed(content: object) -> memoryview:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def load(folder: Path, device: torch.device) -> tuple[Scan, float] | None:
    """The scan as it was saved and the seconds spent, the files cut back to it; None, and no files, without one.

    A checkpoint or a file that a power cut has left short is as good as none.
    """
    path = folder / NAME
    content = torch.load(path, map_location=device, weights_only=True) if zipfile.is_zipfile(path) else None
    if content is None or not reached(folder, content["files"]):
        clear(folder)
        return None
    sweep(folder)
    restore(folder, content["files"], content["header"])
    evidence = [Evidence(**{**row, "verdict": Verdict[row["verdict"]]}) for row in content["evidence"]]
    last = {name: value.cpu() for name, value in content["last"].items()}
    scan = Scan(Status.INTERRUPTED, content["step"], content["state"], last, evidence)
    return scan, content["seconds"]


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for pattern in PATTERNS for path in folder.glob(pattern)}


def reached(folder: Path, files: Mapping[str, int]) -> bool:
    """Is every file as long as it was? After a power cut it may not be."""
    now = sizes(folder)
    return all(now.get(name, -1) >= size for name, size in files.items())


def header(folder: Path) -> str:
    """The first line of scalars.csv, the one file whose columns may grow."""
    path = folder / "scalars.csv"
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        return file.readline()


def restore(folder: Path, files: Mapping[str, int], columns: str) -> None:
    """Cut every file back to the length it had; remove those that were not there yet."""
    if header(folder) != columns:
        narrow(folder / "scalars.csv", columns)
    for name, now in sizes(folder).items():
        if name not in files:
            (folder / name).unlink()
        elif now > files[name]:
            os.truncate(folder / name, files[name])


def narrow(path: Path, columns: str) -> None:
    """Take away the columns that scalars.csv has gained since: they stand at the end of every line."""
    count = columns.count(",") + 1
    temporary = path.with_suffix(".csv.part")
    with path.open(encoding="utf-8", newline="") as old, temporary.open("w", encoding="utf-8", newline="") as new:
        new.writelines(",".join(line.rstrip("\n").split(",")[:count]) + "\n" for line in old)
    os.replace(temporary, path)


def sweep(folder: Path) -> None:
    """Away with what an attempt has left that was killed (hidden files and *.part, half written) or failed."""
    for path in (*folder.glob(".*"), *folder.glob("*.part"), *folder.glob("error.log")):
        path.unlink()


def clear(folder: Path) -> None:
    """An empty folder: nothing of an earlier attempt is kept."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file():
            path.unlink()


def finish(folder: Path) -> None:
    """The run has ended: no more need of a checkpoint."""
    (folder / NAME).unlink(missing_ok=True)
