"""Where readings go: a SummaryWriter, a callable, a folder of the lab's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from calclab.core import Answer, Evidence, Status
from calclab.watch.moment import Event, Reading


@dataclass(frozen=True)
class About:
    """What is known of a training before it is looked at; ``config`` is plain."""

    model: str
    parameters: int
    optimizer: str
    device: str
    dtype: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Ending:
    """How it ended, and what the watch came to; ``last`` are the last readings of each name."""

    status: Status
    steps: int
    answer: Answer
    last: Sequence[Reading]
    evidence: Sequence[Evidence]
    error: str = ""


class Log(Protocol):
    """What takes what a step has brought, and each event; it is opened before the first and closed after the last."""

    def open(self, about: About) -> None: ...

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None: ...

    def event(self, event: Event) -> None: ...

    def close(self, ending: Ending) -> None: ...


class Board:
    """Any SummaryWriter: torch's, tensorboardX's, or what has their ``add_scalar`` and ``add_text``. It is the user's,
    and left open."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def open(self, about: About) -> None:
        """The writer is open."""

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        for tag, value in plain(readings).items():
            self.writer.add_scalar(tag, value, step)

    def event(self, event: Event) -> None:
        if hasattr(self.writer, "add_text"):
            self.writer.add_text("watch/events", event.text, event.step)

    def close(self, ending: Ending) -> None:
        if hasattr(self.writer, "flush"):
            self.writer.flush()


class Call:
    """A callable of the step and the numbers by tag."""

    def __init__(self, call: Callable[[int, Mapping[str, float]], Any]) -> None:
        self.call = call

    def open(self, about: About) -> None:
        """Nothing is to be opened."""

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        self.call(step, plain(readings))

    def event(self, event: Event) -> None:
        """Numbers alone are asked for."""

    def close(self, ending: Ending) -> None:
        """Nothing is held back."""


def plain(readings: Sequence[Reading]) -> dict[str, float]:
    """Numbers by tag; of those with a known error this too, under the tag with ``_error``."""
    found = {}
    for reading in readings:
        found[reading.name] = reading.value
        if isfinite(reading.error):
            found[of_error(reading.name)] = reading.error
    return found


def of_error(name: str) -> str:
    """The tag of a reading's error: "noise/scale_error", of a layer "layers/sharpness_error/fc1"."""
    group, _, rest = name.partition("/")
    kind, _, layer = rest.partition("/")
    return f"layers/{kind}_error/{layer}" if group == "layers" and layer else f"{name}_error"
