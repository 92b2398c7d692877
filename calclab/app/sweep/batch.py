"""Jobs that differ in numbers only, computed as one scan; each is then written as a run of its own.

What cannot walk with others (see `calclab.together`) is performed alone, and the launcher says why.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, uint8

from calclab import together
from calclab.app import record, trackers
from calclab.app.build import Job, prepare
from calclab.app.request import Request
from calclab.app.signals import signals
from calclab.app.sweep.ticket import Report, Ticket, ending, keep_all, requested, row_for, run_ticket
from calclab.archive import folder as folders
from calclab.archive.folder import LIST, RECORD, put
from calclab.core import Columns, Function, Rows, Scan
from calclab.subject.network import Network
from calclab.topic.descent import Descent

BYTES = 2**28  # of columns in memory at once
COLUMNS = 12  # of a descent, about, besides its vectors
OWN = ("lr", "tol")  # knobs of the topic in which the runs of one scan may differ


@dataclass(frozen=True)
class Walker:
    """A job that is to walk with others."""

    ticket: Ticket
    request: Request
    job: Job
    topic: Descent


def run_tickets(tickets: Sequence[Ticket]) -> Report:
    """Every ticket: found finished, in one scan with its like, or alone."""
    rows: list[dict[str, Any]] = []
    reasons: list[str] = []
    kinds: dict[str, list[Walker]] = {}
    with signals() as received:
        for ticket in tickets:
            if received:
                break
            found = settle(ticket)
            if isinstance(found, Walker):
                kinds.setdefault(kind(found), []).append(found)
                continue
            if isinstance(found, str):
                reasons.append(found)
                found = run_ticket(ticket)
            rows.append(found)
        scans = [few for many in kinds.values() for few in portions(many)]
        for few in scans:
            if received:
                break
            try:
                walked = list(together.walk([walker.topic for walker in few], received))
            except (Exception, SystemExit) as crash:  # alone, the run that is to blame will say so by itself
                reasons += [f"they could not walk together ({type(crash).__name__}: {crash})"] * len(few)
                rows += [run_ticket(walker.ticket) for walker in few]
                continue
            if walked:
                rows += written(few, walked, received)
    keep_all(rows, tickets[0].sweep)
    return Report(rows, [len(few) for few in scans], reasons)


def settle(ticket: Ticket) -> dict[str, Any] | Walker | str:
    """The row of a ticket that is finished or wrong; else one to walk with others, or why it cannot."""
    with row_for(ticket) as row:
        request = requested(ticket)
        if found := request.shown_again():
            row |= ending(request.place.folder, found)
            return row
        if ticket.config["claims"]:
            return "claims look at a run as it goes"
        job = prepare(request)
        if not isinstance(job.topic, Descent):
            return f"topic={request.place.topic} is no descent"
        return together.obstacle(job.topic) or Walker(ticket, request, job, job.topic)
    return row


def kind(walker: Walker) -> str:
    """What the runs of one scan have in common: all but numbers, starts and seeds."""
    config = {key: value for key, value in walker.request.config.items() if key not in (*OWN, "seed")}
    config["topic"] = {key: value for key, value in config["topic"].items() if key not in (*OWN, "seed")}
    config["optimizer"] = {
        key: value for key, value in config["optimizer"].items() if isinstance(value, bool | str | None)
    }
    if isinstance(walker.topic.subject, Function):
        config["function"] = {key: value for key, value in config["function"].items() if key not in ("at", "minima")}
    elif walker.topic.minibatches is None and (fixed := fixed_numbers(walker.topic.subject)) is not None:
        config["fixed"] = fixed  # a seed makes other weights, and may make other data
    else:
        config["seed"] = walker.request.config["seed"]
    return json.dumps([config, len(walker.topic.function.start)], sort_keys=True, default=str)


def fixed_numbers(network: Network) -> str | None:
    """A digest of the numbers of a network's loss that are no parameters: rows, buffers, what is frozen. None where the
    rows do not fit in memory."""
    found, data = hashlib.blake2b(), network.data
    learned = {name for name, p in network.module.named_parameters() if p.requires_grad}
    state = network.module.state_dict()
    tensors = [state[name] for name in sorted(state) if name not in learned and isinstance(state[name], Tensor)]
    for part in (data, data.held_out):
        tensors += [] if part is None else [part.inputs, part.targets]
    if any(isinstance(t, Rows) for t in tensors):
        return None
    for t in tensors:
        found.update(str((t.shape, t.dtype)).encode())
        found.update(t.detach().cpu().contiguous().reshape(-1).view(uint8).numpy())
    return found.hexdigest()


def portions(walkers: Sequence[Walker]) -> Iterator[Sequence[Walker]]:
    """As many at once as memory allows."""
    topic = walkers[0].topic
    x = topic.function.start
    numbers = COLUMNS + (4 * len(x) if topic.iteration.short else 0)
    size = max(1, BYTES // (x.element_size() * (topic.steps + 1) * numbers))
    for i in range(0, len(walkers), size):
        yield walkers[i : i + size]


def written(
    walkers: Sequence[Walker], walked: Sequence[tuple[Scan, Columns]], received: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The rows of runs that went together, each written down as the run that it is."""
    for walker, (scan, columns) in zip(walkers, walked, strict=True):
        with row_for(walker.ticket) as row, walker.request.place.held() as anew:
            made = walker.request.settled(anew)  # by another process, meanwhile
            made = made or recorded(walker.job, scan, columns)
            row |= ending(walker.request.place.folder, made)
        yield row
        if received:
            return


def recorded(job: Job, scan: Scan, columns: Columns) -> dict[str, Any]:
    """The files and the record that `execute` would have made, in a hidden folder that then takes its name: whoever
    looks sees the whole run or none of it. The caller holds the place."""
    folder = hidden(job.run.folder, job.request.place.digest)
    run = replace(job.run, folder=folder)
    sinks = record.sinks(run)
    began = time.perf_counter()
    try:
        record.log(sinks, run, columns, scan.evidence)
        outcome = record.concluded(job, scan, time.perf_counter() - began)
    except Exception as crash:
        outcome = record.failed(job, record.crash_line(crash), time.perf_counter() - began)
        record.write_log(folder, job.request.hidden(traceback.format_exc()))

    def leave() -> None:
        job.topic.write_artifacts(scan.state, folder)
        put(folder, os.listdir(folder))  # before the record: with that, the run is whole

    made = record.write(job, folder, outcome, sinks, leave, record.exit_status(outcome))
    if not (folder / LIST).is_file():
        put(folder, os.listdir(folder))
    show(folder, job.run.folder)
    trackers.put(job.run.folder, job.run.config.get("sinks", ()), job.request.sweep)
    return made


def hidden(folder: Path, digest: str) -> Path:
    """An empty folder beside ``folder`` that nobody sees; what an attempt that was killed has left there is removed."""
    made = folders.hidden(folder, digest)
    try:
        os.mkdir(made)
    except FileNotFoundError:
        made.mkdir(parents=True)
    except FileExistsError:
        empty(made)
    return made


def show(made: Path, folder: Path) -> None:
    """Give a hidden folder its name. Without a record, which a full disk had no room for, there is nothing to show."""
    if (made / RECORD).is_file():
        folders.show(made, folder)
    else:
        empty(made)
        made.rmdir()


def empty(made: Path) -> None:
    """A hidden folder is the lab's with all that is in it."""
    for path in made.iterdir():
        path.unlink()
