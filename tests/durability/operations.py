"""Kill a run before every single file operation, go on, and compare every byte with a run that was never stopped.

    python tests/durability/operations.py
    python tests/durability/operations.py --runs float32,rerun --stride 5

A run is a forked child of this process, whose own audit hook counts what it does to files in its outputs folder: files
opened to be written (killed before, and when it has been made and is still empty), renamed, linked, cut, removed,
folders made and removed, and pieces appended (half of the piece is written). At the n-th it kills itself by SIGKILL,
for n = 0, 1, 2, ... until a run ends before that. What goes on from there is killed once more, at random, and then let
end. Beside the promises of `kills.py`: the user's own files are there at every moment, and so is the result of a run
that is computed anew.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from forked import BrokenError, child, differences, ended, fingerprint, finish, readable, warm

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
ENDS = (0, 3)  # the second where a claim does not hold: it then must not, however the run was stopped
FAST = "checkpoint_every=0.001"
WALK = f"topic=descent {FAST} figures=false"
COMMANDS = {
    "float64": f"{WALK} function=rosenbrock lr=0.0001 steps=150",
    "float32": f"{WALK} function=rosenbrock lr=0.0001 steps=150 dtype=float32",
    "network": f"{WALK} network=linear data=iris optimizer=adam lr=0.1 steps=70 batch=16 dtype=float32",
    "claims": f"experiment=notebook/07_bowl {FAST} dtype=float32 figures=false",
    "figures": f"topic=descent {FAST} function=himmelblau lr=0.001 steps=70 dtype=float32 figures=true",
    "matrix": f"topic=hessian function=himmelblau {FAST} figures=false",
    "table": f"topic=importance network=linear data=iris train=5 {FAST} figures=false",
    "rerun": f"{WALK} function=rosenbrock lr=0.0001 steps=150 dtype=float32",
    "sweep": f"-m {WALK} function=rosenbrock lr=0.0001,0.0002 steps=70",
    "batch": f"-m {WALK} function=rosenbrock lr=0.0001,0.0002 steps=70 hydra/launcher=batch",
    "sweep rerun": f"-m {WALK} function=rosenbrock lr=0.0001,0.0002 steps=70",
    "batch rerun": f"-m {WALK} function=rosenbrock lr=0.0001,0.0002 steps=70 hydra/launcher=batch",
}
OWN = {"notes.txt": "mine", "mine.csv": "step,loss\n0,1\n", ".hidden": "mine", "sub/mine.txt": "mine", "mine.png": "no"}


@dataclass
class Doom:
    """Ends this process before its operation ``number`` on what lies in ``place``."""

    place: str
    number: int
    done: int = 0

    def __call__(self) -> None:
        """Set it up, in the child."""
        from calclab.sink.growing import AppendingFile

        real, write = io.open, AppendingFile.write

        def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            made = real(file, mode, *more, **options)
            if set(mode) & set("wax") and self.here(file):
                self.step()
            return made

        def appended(file: AppendingFile, piece: bytes) -> int:
            if self.done == self.number and self.here(file._file.name):
                file._file.write(piece[: len(piece) // 2])
            if self.here(file._file.name):
                self.step()
            return write(file, piece)

        builtins.open = io.open = opened
        AppendingFile.write = appended  # type: ignore[method-assign]
        in_this_process()
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        changes = event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITING)
        if changes and self.here(args[0]):
            self.step()

    def here(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self.place)

    def step(self) -> None:
        if self.done == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += 1


def in_this_process() -> None:
    """Let the workers of a sweep do their work here, one after the other, so that it is counted."""
    from calclab.app import studies
    from calclab.app.sweep.worker import Worker

    studies.register()
    import hydra_plugins.calclab_batch as batch

    class Pool(contextlib.AbstractContextManager[Any]):
        def __exit__(self, *raised: object) -> None:
            """Nothing to end."""

        def map(self, *args: Any) -> Any:
            return map(*args)

    def ask(self: Worker, task: Any, received: Sequence[int]) -> Any:
        return self._work(task)

    Worker.ask = ask  # type: ignore[method-assign]
    Worker.start = lambda self: None  # type: ignore[method-assign]
    batch.ThreadPoolExecutor = lambda count: Pool()  # type: ignore[misc,assignment]


def doomed(words: Sequence[str], outputs: Path, number: int) -> bool:
    """Run ``words`` up to an operation; whether it came so far."""
    status = ended(child(words, before=Doom(str(outputs), number)))
    if status not in (*ENDS, -signal.SIGKILL):
        raise BrokenError(f"left with {status} before operation {number}")
    return status == -signal.SIGKILL


def state(outputs: Path) -> dict[str, dict[str, object]]:
    """All runs in ``outputs``, and that nothing half made lies beside them."""
    found = {}
    for folder in sorted(path for path in outputs.glob("*/*") if path.parent.name not in (".locks", "sweeps")):
        if folder.name.startswith("."):
            raise BrokenError(f"{folder.name} is left")
        found[folder.name] = fingerprint(folder)
    for sweep in outputs.glob("sweeps/*"):
        names = (path.name for path in sweep.iterdir() if not path.name.startswith("events.out.tfevents"))
        there = sorted(name for name in names if name != ".swept")
        if there != ["multirun.yaml", "sweep.csv", "sweep.png"]:
            raise BrokenError(f"a sweep has left {there}")
    return found


def compare(whole: dict[str, dict[str, object]], now: dict[str, dict[str, object]]) -> None:
    if whole.keys() != now.keys():
        raise BrokenError(f"there are {sorted(now)}, and not {sorted(whole)}")
    for name, run in whole.items():
        if differs := differences(run, now[name]):
            raise BrokenError(f"differs in {differs}")


def put_own(outputs: Path) -> None:
    """The user's own files, in every run's folder."""
    for record in outputs.glob("*/*/outcome.json"):
        (record.parent / "sub").mkdir(exist_ok=True)
        for name, text in OWN.items():
            (record.parent / name).write_text(text, encoding="utf-8")


def take_own(outputs: Path) -> None:
    """They are all there, as they were; take them away, to compare the rest."""
    for record in outputs.glob("*/*/outcome.json"):
        for name, text in OWN.items():
            path = record.parent / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                raise BrokenError(f"the user's {name} is not as it was")
            path.unlink()
        (record.parent / "sub").rmdir()


def trial(name: str, words: list[str], before: Path | None, whole: Any, number: int, chance: random.Random) -> bool:
    """A run killed at an operation, again at random, then let end; False when it ended before the first."""
    with tempfile.TemporaryDirectory() as place:
        outputs = Path(place) / "outputs"
        asked = [*words, f"outputs={outputs}"]
        if before is not None:
            shutil.copytree(before, outputs)
            put_own(outputs)
            asked.append("rerun=true")
        killed = doomed(asked, outputs, number)
        for again in (False, True):
            if again and killed:
                doomed(asked, outputs, chance.randrange(number + 20))
            readable(outputs)
            if before is not None and not keeps(outputs, whole):
                raise BrokenError("the earlier result is not there while it is computed anew")
        finish(asked, allowed=ENDS)
        if before is not None:
            take_own(outputs)
        compare(whole, state(outputs))
        return killed


def keeps(outputs: Path, whole: dict[str, dict[str, object]]) -> bool:
    """Is every run's result there, the earlier or the new one, which are the same but for times?"""
    for name, run in whole.items():
        (folder,) = outputs.glob(f"*/{name}")
        record = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        if record["status"] not in ("completed", "converged"):
            return False
        if any((folder / file).read_bytes() != data for file, data in run.items() if file.endswith(".csv")):
            return False
    return True


def run(names: Sequence[str], stride: int, seed: int, say: Callable[[str], None]) -> int:
    """Every ``stride``-th operation of the commands ``names``; how many kills went wrong."""
    warm()
    wrong = 0
    for name in names:
        chance = random.Random(seed)
        words = COMMANDS[name].split()
        with tempfile.TemporaryDirectory() as place:
            first = Path(place) / "outputs"
            finish([*words, f"outputs={first}"], allowed=ENDS)
            whole, tried, failed = state(first), 0, 0
            before = first if "rerun" in name else None
            for number in count(chance.randrange(stride), stride):
                try:
                    if not trial(name, words, before, whole, number, chance):
                        break
                except BrokenError as broken:
                    failed += 1
                    say(f"{name}, operation {number}: {broken}")
                tried += 1
        say(f"{name}: killed before {tried} operations of {number}, {failed or 'nothing'} went wrong")
        wrong += failed
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default=",".join(COMMANDS), help="which of %(default)s")
    parser.add_argument("--stride", type=int, default=1, help="only every so many operations")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    say = lambda text: print(text, flush=True)  # noqa: E731
    sys.exit(min(1, run(options.runs.split(","), options.stride, options.seed, say)))
