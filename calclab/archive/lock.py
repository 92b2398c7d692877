"""Is a run being computed? Its lock knows: it goes with the process that held it, however that ended.

The lock is the file ``outputs/.locks/<topic>-<digest>.lock``, held exclusively (flock) while the run computes. The
question is asked with a shared lock: it leaves nothing behind, and two who ask do not take each other for the run. What
the holder says of itself stands in the file: who it is, and in which folder it computes.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CLAIM = 4096  # bytes, at most, that a holder says of itself
PAUSE = 0.02  # seconds between two attempts at a lock
FRESH = 60.0  # seconds after a sign of life within which a process on another host is taken to live


def lock_file(outputs: Path, topic: str, digest: str) -> Path:
    """Where the lock of a run lies, whether it exists or not."""
    return outputs / ".locks" / f"{topic}-{digest}.lock"


def computing(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether the run that says in ``record`` that it is running, really is.

    Some shared file systems keep locks to one machine: there a recent sign of life of another host counts too.
    """
    held = taken(path)
    elsewhere = record.get("host") not in (None, platform.node())
    return held or ((elsewhere or held is None) and fresh(record.get("heartbeat")))


def taken(path: Path) -> bool | None:
    """Whether somebody holds the lock; None when that cannot be found out."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return taken_elsewhere(path)
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False


def taken_elsewhere(path: Path) -> bool | None:
    """The same by `filelock`, which knows every system, but takes the lock for a moment."""
    if not path.is_file():
        return False
    try:
        with held_elsewhere(path) as mine:
            return not mine
    except OSError:
        return None


class Hold:
    """A lock that is held. What its holder says of itself stays in the lock file when it is gone.

    Nothing can be said where there is no flock: `filelock`, which knows every system, then holds the file.
    """

    def __init__(self, handle: int | None) -> None:
        self._handle = handle

    def before(self) -> dict[str, Any]:
        """What the holder before has said; empty where it said nothing."""
        return {} if self._handle is None else said(os.read(self._handle, CLAIM))

    def say(self, claim: Mapping[str, Any]) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(claim).encode(), 0)


@contextmanager
def hold(path: Path, patience: float = 0.0) -> Iterator[Hold | None]:
    """Hold the lock so that no run can begin meanwhile; yields None when somebody else has it for so many seconds."""
    try:
        import fcntl
    except ImportError:
        with held_elsewhere(path, patience) as mine:
            yield Hold(None) if mine else None
        return
    handle = opened(path)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    yield None
                    return
                time.sleep(PAUSE)
            else:
                yield Hold(handle)
                return
    finally:
        os.close(handle)


def opened(path: Path) -> int:
    """The lock file, made if need be."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


@contextmanager
def held_elsewhere(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """The same by `filelock`."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def claim(path: Path) -> dict[str, Any]:
    """What the holder of a lock has said of itself; empty where there is none, or where it said nothing."""
    try:
        return said(path.read_bytes())
    except OSError:
        return {}


def said(text: bytes) -> dict[str, Any]:
    """A claim; of one that is damaged nothing, or what is left."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def fresh(heartbeat: object) -> bool:
    """Whether the sign of life (ISO time) is recent."""
    try:
        seen = datetime.fromisoformat(str(heartbeat))
    except ValueError:
        return False
    seen = seen if seen.tzinfo else seen.replace(tzinfo=UTC)
    return abs((datetime.now(UTC) - seen).total_seconds()) < FRESH
