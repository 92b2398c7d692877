"""Is a run being computed? Its lock knows: it goes with the process that held it, however that ended.

The lock is the file ``outputs/.locks/<topic>-<digest>.lock``, held exclusively (flock) while the run computes. The
question is asked with a shared lock: it leaves nothing behind, and two who ask do not take each other for the run.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
        with hold(path) as mine:
            return not mine
    except OSError:
        return None


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Hold the lock so that no run can begin meanwhile; yields False, at once, when somebody else has it."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def fresh(heartbeat: object) -> bool:
    """Whether the sign of life (ISO time) is recent."""
    try:
        seen = datetime.fromisoformat(str(heartbeat))
    except ValueError:
        return False
    seen = seen if seen.tzinfo else seen.replace(tzinfo=UTC)
    return abs((datetime.now(UTC) - seen).total_seconds()) < FRESH
