"""What reading runs back costs, and how it grows with their number.

    python tests/benchmark/archive_cost.py [N ...]        (500, 5,000 and 20,000 unless told)

One real run is made, then copied N times with changed numbers. Every command is a whole process, wall clock, imports
included, best of three with the files in the system's cache; "cold" is one listing after they were dropped from it.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SIZES, ROUNDS = (500, 5_000, 20_000), 3
LIST = [sys.executable, "-m", "calclab.runs", "outputs"]
LOAD = "import calclab; runs = calclab.load('outputs'); assert len(runs) == {n}, len(runs)"
BARE = "import pandas"


def real_run(place: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The record of a descent, and its other files."""
    command = [sys.executable, "-m", "calclab", "topic=descent", "steps=20", "figures=false"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    (outcome,) = (place / "outputs").glob("descent/*/outcome.json")
    files = {path.name: path.read_bytes() for path in outcome.parent.iterdir() if path.is_file() and path != outcome}
    return json.loads(outcome.read_text(encoding="utf-8")), files


def variant(record: dict[str, Any], k: int, *, killed: bool = False) -> dict[str, Any]:
    """The same run with another learning rate, and what that changes."""
    made = copy.deepcopy(record)
    lr, loss = 1e-5 * (k + 1), 4.0 / (k + 1)
    made |= {"digest": f"{k:012x}", "seconds": 0.01 * k, "status": ("completed", "diverged", "failed")[k % 3]}
    made["config"] |= {"lr": lr, "seed": k}
    made["config"]["topic"]["lr"] = made["config"]["optimizer"]["lr"] = lr
    made["answer"]["values"] |= {"loss": loss}
    made["last"] |= {"loss": loss}
    made["provenance"]["started"] = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=k)).isoformat()
    return made | {"status": "running", "pid": 1, "host": os.uname().nodename} if killed else made


def fill(place: Path, record: dict[str, Any], files: dict[str, bytes], n: int, *, killed: bool = False) -> None:
    locks = place / "outputs" / ".locks"
    locks.mkdir(parents=True)
    for k in range(n):
        made = variant(record, k, killed=killed)
        folder = place / "outputs" / "descent" / f"lr={made['config']['lr']:.5f},seed={k}-{k:012x}"
        folder.mkdir(parents=True)
        (folder / "outcome.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (locks / f"descent-{k:012x}.lock").touch()


def wall(command: list[str], place: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def forget(place: Path) -> None:
    """Drop the contents of the files from the system's cache (their directories stay in it)."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for path in place.glob("outputs/*/*/outcome.json"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    with tempfile.TemporaryDirectory() as folder:
        record, files = real_run(Path(folder))
        print(f"outcome.json: {len(json.dumps(record, indent=2))} bytes; import pandas alone: ", end="", flush=True)
        print(f"{min(wall([sys.executable, '-c', BARE], Path(folder)) for _ in range(ROUNDS)):.2f} s")
    for n in sizes:
        ways = {
            "list": LIST,
            "list, filtered and sorted": [*LIST, "--where", "lr>0.001", "--status", "completed", "--sort", "loss"],
            "list, all columns as JSON": [*LIST, "--format", "json"],
            "list with disk use": [*LIST, "--disk"],
            "prune, dry run": [*LIST[:3], "prune", "outputs", "--status", "failed"],
            "load": [sys.executable, "-c", LOAD.format(n=n)],
        }
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), record, files, n)
            forget(Path(folder))
            report(n, "list, cold", wall(LIST, Path(folder)))
            for name, command in ways.items():
                report(n, name, min(wall(command, Path(folder)) for _ in range(ROUNDS)))
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), record, {}, n, killed=True)
            report(n, "list, all of them killed", min(wall(LIST, Path(folder)) for _ in range(ROUNDS)))


def report(n: int, name: str, seconds: float) -> None:
    print(f"{n:>7,} runs   {name:<28} {seconds:6.2f} s   {seconds / n * 1e6:7.0f} µs a run", flush=True)


if __name__ == "__main__":
    main()
