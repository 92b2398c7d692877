"""The experiment trackers that ``sinks`` names: told of a run as it goes on, or once it has ended.

A finished run that is asked for again is shown again; where its folder does not say that a tracker has all of it, it is
put there, too. No torch and no tracker before one is named.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.run import Run, read_run
from calclab.archive.trackers import Told, keep, kept
from calclab.errors import UserError
from calclab.text import command, warn

if TYPE_CHECKING:
    from calclab.archive.sweep import Sweep
    from calclab.sink.tracker import Tracker, TrackerSink

TRACKERS = {"mlflow": "Mlflow", "wandb": "Wandb"}  # module of calclab.sink, library and extra -> class


def named(sinks: Iterable[str]) -> list[str]:
    """The trackers among sinks, each once."""
    return [name for name in dict.fromkeys(sinks) if name in TRACKERS]


def require(sinks: Iterable[str], asked: str = "sinks=") -> None:
    """UserError where a tracker's library is not there; ``asked`` is what comes before its name."""
    for name in named(sinks):
        if find_spec(name) is None:
            raise UserError(f"{asked}{name} needs an extra: pip install 'calclab[{name}]'")


def tracker(name: str, **place: Any) -> Tracker:
    """The tracker of that name."""
    made: Tracker = getattr(import_module(f"calclab.sink.{name}"), TRACKERS[name])(**place)
    return made


def live(sinks: Iterable[str], run: Run, sweep: Path | None) -> list[TrackerSink]:
    """The sinks that tell trackers of a run while it goes on; ``run`` is as its record tells it."""
    names = named(sinks)
    if not names:
        return []
    from calclab.sink.tracker import TrackerSink

    return [TrackerSink(tracker(name), run, sweep) for name in names]


def put(folder: Path, sinks: Iterable[str], sweep: Path | None = None) -> list[str]:
    """Put a run that has ended into the trackers among ``sinks`` that have not got all of it; a line each. What goes
    wrong is a warning."""
    said = []
    for name in named(sinks):
        if kept(folder).get(name, Told()).ended:
            continue
        from calclab.sink import tracker as told

        try:
            said.append(f"{name}: {told.put(tracker(name), read_run(folder), sweep)}")
            keep(folder, name, Told(ended=True))
        except Exception as error:
            later = command(["python", "-m", "calclab", "export", name, str(folder)])
            warn(f"{name} does not take {folder} ({told.reason(error)}). Try again: {later}")
    return said


def end_sweep(sweep: Sweep, *, stopped: bool) -> None:
    """Tell the trackers of a sweep's jobs that no more come."""
    first = next((job.folder for job in sweep.jobs if job.folder is not None), None)
    for name in kept(first) if first else ():
        from calclab.archive.ranking import headline
        from calclab.sink.tracker import reason

        try:
            tracker(name).end_sweep(sweep.folder, headline(sweep), stopped)
        except Exception as error:
            warn(f"{name} does not take the end of {sweep.folder} ({reason(error)})")
