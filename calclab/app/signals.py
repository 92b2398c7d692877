"""Ctrl-C and SIGTERM: the first ends a run at its next whole block, a second one at once.

What Python does on a signal waits until the call in hand comes back, and that of a large network may take minutes. So
the command has a thread that reads what Python's own handler in C writes the moment a signal comes
(`signal.set_wakeup_fd`), and answers at once with what happens next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from calclab.text import warn

ENDING = (signal.SIGINT, signal.SIGTERM)
OVER = 0  # no signal's number
GRACE = 1.0  # seconds after a second signal in which what is being written may be ended
AGAIN = "Ctrl-C again ends it at once"
BEFORE = f"interrupted: it ends with the call in hand, and nothing has been written. {AGAIN}"
RUN = f"interrupted: the run ends with the step in hand, and the same command goes on from there. {AGAIN}"
SWEEP = f"interrupted: jobs end with the step in hand, and the same command goes on with what is missing. {AGAIN}"
NOW = "ended at once: what was saved last is kept"

_next = BEFORE  # what is to be said of the first signal


@contextlib.contextmanager
def signals(told: str = "") -> Iterator[list[int]]:
    """The signals received while the block runs, in order. ``told`` is what `answered` says of the first."""
    global _next
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt(number)

    said, _next = _next, told or _next
    before = {number: signal.signal(number, note) for number in ENDING}
    try:
        yield received
    finally:
        _next = _next if received else said  # the thread may be about to say it
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def answered(*, aloud: bool = True) -> Iterator[None]:
    """Say within a moment that a signal has come and what happens next; at the second, end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    global _next
    _next = BEFORE
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = threading.Event()
    thread = threading.Thread(target=answer, args=(reading, over, aloud), daemon=True)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        os.write(writing, bytes([OVER]))
        thread.join()
        os.close(reading)
        os.close(writing)


def answer(reading: int, over: threading.Event, aloud: bool) -> None:
    """Read the numbers of signals as they come, until the command is over."""
    count = 0
    while True:
        for number in os.read(reading, 64):
            if number == OVER:
                return
            if number not in ENDING:
                continue
            count += 1
            if aloud and count <= 2:
                warn(_next if count == 1 else NOW)
            if count == 2 and not over.wait(GRACE):
                os._exit(128 + number)
