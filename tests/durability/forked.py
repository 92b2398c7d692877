"""Runs in forked children of this process, which costs no start-up, and what of a run must not depend on its fate."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ALIKE = ("status", "steps", "answer", "last", "evidence", "claims", "exit")  # of outcome.json


class BrokenError(Exception):
    """A promise that was not kept."""


def warm() -> None:
    """Do one run of each kind in this process, on one thread, so that forked children have all they import."""
    import torch

    from calclab.app import main

    torch.set_num_threads(1)
    for words in ("topic=derivative steps=2", "topic=hessian network=linear data=iris"):
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            main([*words.split(), f"outputs={place}"])


def child(words: Sequence[str], said: Path = Path(os.devnull), before: Callable[[], None] | None = None) -> int:
    """Start ``calclab`` with ``words`` in a forked child (after ``before``), its output in ``said``; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setpgid(0, 0)
        sink = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        from calclab.app import main

        if before is not None:
            before()
        status = traced(lambda: main(words))
    finally:
        os._exit(status)


def traced(action: Callable[[], int]) -> int:
    """The status of ``action``; an exception is printed as Python would."""
    import sys
    import traceback

    try:
        status = action()
    except Exception:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    return status


def ended(pid: int) -> int:
    """Wait for a child; its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(words: Sequence[str], said: Path = Path(os.devnull), allowed: Sequence[int] = (0,)) -> float:
    """Run ``words`` to the end; the seconds of CPU time that took."""
    _, status, usage = os.wait4(child(words, said), 0)
    if os.waitstatus_to_exitcode(status) not in allowed:
        raise BrokenError(f"left with {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime


def kill(pid: int, after: float) -> bool:
    """SIGKILL a child when it has had so many seconds of CPU time; whether it was still at work.

    By its own clock, since a busy machine would else have runs killed before they begin, or when they have ended.
    """
    with contextlib.suppress(OSError):  # it has ended
        while time.clock_gettime(~pid << 3 | 2) < after:  # Linux's clock of a process
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    return ended(pid) == -signal.SIGKILL


def folder_of(outputs: Path) -> Path:
    """The one run in ``outputs``."""
    found = [record.parent for record in outputs.glob("*/*/outcome.json")]
    if len(found) != 1:
        raise BrokenError(f"{len(found)} runs in {outputs}, one was expected: {[path.name for path in found]}")
    return found[0]


def fingerprint(folder: Path) -> dict[str, object]:
    """All of a run that must not depend on when it was stopped, and that nothing else lies in its folder."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    content = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    found: dict[str, object] = {"outcome": [content[key] for key in ALIKE]}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".csv", ".png", ".parquet"):
            found[path.name] = path.read_bytes()
        elif path.name.startswith("events.out.tfevents."):
            values = [
                (event.step, value.tag, value.tensor.SerializeToString() if "scalars" in value.tag else b"")
                for event in EventFileLoader(str(path)).Load()
                for value in event.summary.value
            ]
            found["events"] = sorted([*values, *found.get("events", [])])  # type: ignore[misc]  # events depend on blocks
        else:
            found[path.name] = None
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> str:
    """The names of what is not the same in two fingerprints."""
    return ", ".join(sorted(key for key in one.keys() | other.keys() if one.get(key, "") != other.get(key, "")))


def readable(outputs: Path) -> None:
    """What must hold at every moment: a CSV that ends with a row, an outcome and an event file that parse."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in outputs.glob("*/*/[!.]*.csv"):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            raise BrokenError(f"{path} ends with half a row")
        if len({line.count(b",") for line in content.splitlines() if b'"' not in line}) > 1:
            raise BrokenError(f"{path} has rows of several lengths")
    for path in outputs.glob("*/*/outcome.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in outputs.glob("*/*/events.out.tfevents.*"):
        list(EventFileLoader(str(path)).Load())
