"""Where readings go: a SummaryWriter, a callable, a folder of the lab's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

from calclab.core import Evidence
from calclab.errors import UserError
from calclab.watch.moment import Event, Reading


class Log(Protocol):
    """What takes what a step has brought, and each event."""

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None: ...

    def event(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Board:
    """Any SummaryWriter: torch's, tensorboardX's, or what has their ``add_scalar`` and ``add_text``. It is the user's,
    and left open."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        for tag, value in plain(readings).items():
            self.writer.add_scalar(tag, value, step)

    def event(self, event: Event) -> None:
        if hasattr(self.writer, "add_text"):
            self.writer.add_text("watch/events", event.text, event.step)

    def close(self) -> None:
        if hasattr(self.writer, "flush"):
            self.writer.flush()


class Call:
    """A callable of the step and the numbers by tag."""

    def __init__(self, call: Callable[[int, Mapping[str, float]], Any]) -> None:
        self.call = call

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        self.call(step, plain(readings))

    def event(self, event: Event) -> None:
        """Numbers alone are asked for."""

    def close(self) -> None:
        """Nothing is held back."""


def plain(readings: Sequence[Reading]) -> dict[str, float]:
    """Numbers by tag; of those with a known error this too, under the tag with ``_error``."""
    found = {}
    for reading in readings:
        found[reading.name] = reading.value
        if isfinite(reading.error):
            found[f"{reading.name}_error"] = reading.error
    return found


def logs(given: Any) -> Iterator[Log]:
    """What ``log=`` names."""
    if given is None:
        return
    if isinstance(given, list | tuple):
        for entry in given:
            yield from logs(entry)
    elif hasattr(given, "add_scalar"):
        yield Board(given)
    elif all(hasattr(given, name) for name in ("write", "event", "close")):
        yield given
    elif callable(given):
        yield Call(given)
    elif isinstance(given, str | os.PathLike):
        raise UserError("a folder is not written yet")
    else:
        raise UserError(
            f"log={given!r} is a {type(given).__name__}. Give a SummaryWriter, a folder ('outputs/watch/first'), a "
            "callable of (step, {tag: number}), or several in a list"
        )
