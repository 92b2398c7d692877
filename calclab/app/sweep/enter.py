"""A scan that was carried with others, written down as the run that it is.

Its files are made in a hidden folder, which then takes its name: whoever looks sees the whole run or none of it.
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from calclab.app.execute import conclude, failed, told, write_down, write_log
from calclab.app.job import Job
from calclab.app.output import make_sinks
from calclab.app.status import exit_status
from calclab.archive import own, swap
from calclab.core import Columns, Scan
from calclab.report.outcome import RECORD
from calclab.sink.memory import MemorySink


def enter(job: Job, scan: Scan, columns: Columns) -> dict[str, Any]:
    """The files and the record that `execute` would have made. The caller holds the place."""
    folder = hidden(job.run.folder, job.place.digest)
    run = replace(job.run, folder=folder)
    sinks = make_sinks(run, progress=False)
    began = time.perf_counter()
    try:
        for sink in sinks:
            sink.open(run)
            sink.write(columns)
            sink.evidence(scan.evidence)
            sink.flush()
        outcome = conclude(job, scan, time.perf_counter() - began, MemorySink())
    except Exception as crash:
        outcome = failed(job, told(crash), time.perf_counter() - began)
        write_log(folder, job.hidden(traceback.format_exc()))

    def leave() -> None:
        job.topic.leave(scan.state, folder)
        own.put(folder, os.listdir(folder))  # before the record: with that, the run is whole

    record = write_down(job, folder, outcome, sinks, leave, exit_status(outcome))
    if not (folder / own.LIST).is_file():
        own.put(folder, os.listdir(folder))
    show(folder, job.run.folder)
    return record


def hidden(folder: Path, digest: str) -> Path:
    """An empty folder beside ``folder`` that nobody sees; what an attempt that was killed has left there is removed."""
    made = swap.hidden(folder, digest)
    try:
        os.mkdir(made)
    except FileNotFoundError:
        made.mkdir(parents=True)
    except FileExistsError:
        empty(made)
    return made


def show(made: Path, folder: Path) -> None:
    """Give a hidden folder its name, see `swap`. Without a record, which a full disk had no room for, there is nothing
    to show."""
    if (made / RECORD).is_file():
        swap.show(made, folder)
    else:
        empty(made)
        made.rmdir()


def empty(made: Path) -> None:
    """A hidden folder is the lab's with all that is in it."""
    for path in made.iterdir():
        path.unlink()
