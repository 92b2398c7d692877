"""Let the disk be full at every point of a run, make room, go on, and compare every byte.

    python tests/durability/full_disk.py

The disk is a file system in memory (tmpfs), mounted in a mount namespace of this script's own, so that no rights are
needed and nothing is left behind. It is full at a page or at a file: with room for 0, 1, 2, ... pages of 4 kB, and for
0, 1, 2, ... files, until the run fits. Each time the run must end with one clear message, no traceback and a status
other than 0; what was written before must be whole and the beginning of what the whole run writes; and the same command
must, when there is room, end with the same bytes as a run that always had room.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from forked import BrokenError, child, differences, ended, fingerprint, finish, folder_of, readable, warm

COMMANDS = {
    "scalars": "topic=descent function=rosenbrock lr=0.0001 steps=400 checkpoint_every=0.001 figures=false",
    "network": "topic=descent network=linear data=iris optimizer=adam steps=20 checkpoint_every=0.001 figures=false",
    "matrix": "topic=hessian function=himmelblau figures=false",
    "figures": "topic=derivative steps=20",
    "claims": "experiment=notebook/07_bowl checkpoint_every=0.001 figures=false",
}
ROOM = "size=64m,nr_inodes=10000"
SECONDS = 600  # after which a run counts as hung, whatever else the machine does
MESSAGE = "No space left on device"


@contextmanager
def disk(place: Path, room: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", room, "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def widen(place: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,{ROOM}", place], check=True)


def limit() -> None:
    signal.alarm(SECONDS)


def trial(words: list[str], whole: Path, place: Path, said: Path) -> str:
    """One run into ``place``, on the disk as it is, then with room; "fits", "failed" or "refused" (nothing begun)."""
    status = ended(child(words, said, limit))
    text = said.read_text(encoding="utf-8")
    if "Traceback" in text:
        raise BrokenError(f"a traceback:\n{text}")
    readable(place)
    if status == 0:
        result = "fits"
    elif status != 1:
        raise BrokenError(f"left with {status}: {text}")
    elif MESSAGE not in text:
        raise BrokenError(f"no clear message: {text}")
    else:
        result = "failed" if compare_start(place, whole) else "refused"
    widen(place.parent)
    finish(words, said)
    if differs := differences(fingerprint(whole), fingerprint(folder_of(place))):
        raise BrokenError(f"with room again, differs in {differs}")
    return result


def compare_start(outputs: Path, whole: Path) -> bool:
    """What was written is how the whole run begins, and the run counts as not finished; whether there was a run."""
    from calclab.archive import find

    for path in outputs.glob("*/*/[!.]*.csv"):
        if not begins(path, whole / path.name):
            raise BrokenError(f"{path.name} is not how the whole run's begins")
    runs = find(outputs) if outputs.is_dir() else []
    for run in runs:
        if run.status not in ("failed", "interrupted", "unreadable"):
            raise BrokenError(f"a run that did not end counts as {run.status}")
    return bool(runs)


def begins(part: Path, whole: Path) -> bool:
    """Has ``whole`` the rows of ``part`` first? Columns that came later stand at the end of its rows."""
    with part.open(encoding="utf-8", newline="") as few, whole.open(encoding="utf-8", newline="") as all_of:
        rows, others = csv.reader(few), csv.reader(all_of)
        return all(row == next(others, [])[: len(row)] for row in rows)


def points(name: str, words: list[str], place: Path, kind: str, stride: int, say: Callable[[str], None]) -> int:
    """Every ``stride``-th point of one run; how many went wrong."""
    met: dict[str, int] = {}
    wrong = 0
    outputs = place / "outputs"
    with tempfile.TemporaryDirectory() as aside:
        finish([*words, f"outputs={aside}"])
        whole = folder_of(Path(aside))
        for room in count(1, stride):
            options = f"size={room * 4}k,nr_inodes=10000" if kind == "pages" else f"size=64m,nr_inodes={room}"
            with disk(place, options):
                try:
                    result = trial([*words, f"outputs={outputs}"], whole, outputs, Path(aside, "said"))
                except BrokenError as broken:
                    wrong += 1
                    result = "broken"
                    say(f"{name}, room for {room} {kind}: {broken}")
            met[result] = met.get(result, 0) + 1
            if result == "fits" or room > 2000:
                break
    say(f"{name}: full after {', '.join(f'{number} {result}' for result, number in met.items())} ({kind})")
    return wrong


def run(names: list[str], stride: int, say: Callable[[str], None]) -> int:
    warm()
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            for kind in ("pages", "files"):
                wrong += points(name, COMMANDS[name].split(), Path(place), kind, stride, say)
    say(f"a full disk at every point: {wrong or 'nothing'} went wrong")
    return wrong


def namespace() -> list[str] | None:
    """The command within which this user may mount; None where there is none."""
    way = ["unshare", "--map-root-user", "--mount"]
    able = shutil.which("unshare") and subprocess.run(
        [*way, "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()], capture_output=True
    )
    return way if able and able.returncode == 0 else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default=",".join(COMMANDS), help="which of %(default)s")
    parser.add_argument("--stride", type=int, default=1, help="only every so many points")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        way = namespace()
        if way is None:
            sys.exit("this user may not mount a file system, not even in a namespace of his own")
        os.execvp(way[0], [*way, sys.executable, *sys.argv, "--inside"])
    sys.exit(min(1, run(options.runs.split(","), options.stride, lambda text: print(text, flush=True))))
