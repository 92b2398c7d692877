"""A command with all its processes: workers of a sweep outlive the process that has started them, for a moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Sequence

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt() -> None:
    """Have orphans become children of this process (Linux), so that their time and memory are counted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(command: Sequence[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def reap() -> None:
    """Wait for the orphans."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def cpu() -> float:
    """Seconds of the processor that all children waited for have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak() -> float:
    """The largest memory of any of them, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
