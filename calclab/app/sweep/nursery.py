"""Where workers come from: a process that has imported what jobs need, and is forked for each.

Imports take longer than all else at the start of a sweep. They begin at once, in a process of their own, while Hydra
composes in this one, which needs no torch. Each worker is a fork of that process, which computes nothing itself.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

SERVED = ("lab", "batch")  # launchers that take their workers from here; others have processes of their own


def start(words: Sequence[str]) -> None:
    """Begin the imports, if the sweep of these words has a use for them; workers then start by this server."""
    launcher = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), SERVED[0])
    if sys.platform == "linux" and launcher in SERVED and own():
        multiprocessing.set_forkserver_preload(["calclab.app.sweep.imports"])
        multiprocessing.set_start_method("forkserver", force=True)
        resource_tracker.ensure_running()  # which the server would start, and which changes what is blocked
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this process to hear
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def own() -> bool:
    """Whether this process is the lab's command. A worker imports the main module, and a user's may not bear that."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name == "calclab.__main__" if spec else Path(getattr(main, "__file__", None) or "").stem == "calclab"
