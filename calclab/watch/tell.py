"""How events are said: by Python's log, as warnings, printed, or by a function of the user's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

from calclab.errors import UserError
from calclab.watch.moment import Event

Tell = Callable[[Event], Any]
said = logging.getLogger("calclab.watch")


class HealthWarning(UserWarning):
    """Something is amiss in a training that is watched."""


def line(event: Event) -> str:
    """ "step 340: the loss grows: ..."."""
    return f"step {event.step}: {event.text}"


def log(event: Event) -> None:
    """To the logger "calclab.watch": warnings, and what is information alone as such."""
    said.log(logging.WARNING if event.kind in ("bad", "doubtful") else logging.INFO, "calclab: %s", line(event))


def warn(event: Event) -> None:
    """As a HealthWarning, but for what is information alone."""
    if event.kind in ("bad", "doubtful"):
        warnings.warn(line(event), HealthWarning, stacklevel=2)


def show(event: Event) -> None:
    """Printed."""
    print(f"calclab: {line(event)}", flush=True)


def nobody(event: Event) -> None:
    """Kept in ``watch.events`` alone."""


WAYS: dict[str | None, Tell] = {"log": log, "warn": warn, "print": show, None: nobody}


def teller(tell: str | Tell | None) -> Tell:
    """The way that is named, or the function given.

    >>> teller("print")(Event("the loss grows", "bad", 340))
    calclab: step 340: the loss grows
    """
    if callable(tell):
        return tell
    if tell in WAYS:
        return WAYS[tell]
    raise UserError(f'tell={tell!r}: give "log", "warn", "print", a function of an event, or None')
