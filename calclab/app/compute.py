"""A request computed: built, held, driven through its steps, saved now and then, and written down however it ends."""

from __future__ import annotations

import gc
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from calclab import checkpoint
from calclab.app import ranks, record, trackers
from calclab.app.blame import blame, whose
from calclab.app.build import Job, prepare
from calclab.app.place import FINISHED, finished
from calclab.app.request import Request
from calclab.app.signals import RUN, signals
from calclab.archive.folder import RECORD, Ledger, blocked, own, read_record, say_moved, show
from calclab.archive.run import Run as Recorded
from calclab.archive.run import read_run
from calclab.core import Run, Scan, Sink, Status
from calclab.drive import drive, evidence_of_interrupted
from calclab.errors import UserError, origin
from calclab.grown import RowFile
from calclab.sink.memory import MemorySink
from calclab.text import warn

AGAIN = ": the run is begun anew"
KEPT = "the earlier result is kept until this run has ended; the same command goes on with it"
HEARTBEAT = 5.0  # seconds between two signs of life in outcome.json


def compute(request: Request, *, progress: bool = False) -> dict[str, Any]:
    """The run's record. Of several ranks the first alone has one; that of the others is their exit."""
    job = prepare(request)
    gc.enable()  # a single run has put it off
    if not ranks.first():
        return {"exit": follow(job)}
    with request.place.held() as anew, signals(RUN) as received:
        if found := request.settled(anew):  # while we waited
            return found
        told = job.topic.notes() if progress else ()
        for note in told:  # before the first step, not only at the end
            warn(note)
        made = execute(job, lambda: bool(received), progress=progress)
    if sys.stdout.isatty() and sys.stderr.isatty():  # on the same screen, once
        made = made | {"notes": [note for note in made["notes"] if note not in told]}
    if received and made["status"] == "interrupted":
        made["exit"] = 128 + received[0]
    return made


def follow(job: Job) -> int:
    """What the other ranks do while the first executes the job: the same scan, written nowhere."""
    if ranks.agree(None) is None:  # the record of the run, had it been finished meanwhile
        drive(job.topic, (), ranks.agree(None), None, ranks.agree)
    return 0


def execute(job: Job, interrupted: Callable[[], bool], *, progress: bool = False) -> dict[str, Any]:
    """Run the job, from its checkpoint if there is one; the record that outcome.json holds.

    The caller holds the place. Every sink is closed and outcome.json written, however the run ends; but what cannot be
    done, as the first step shows, is refused and leaves nothing behind: UserError. What is computed anew, is computed
    aside, and takes the place of the earlier result at its end.
    """
    run = replace(job.run, folder=workplace(job))
    folder, config = run.folder, run.config
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    say_moved(folder, blocked(folder))
    ledger = Ledger(folder)
    memory = MemorySink() if config["claims"] else None  # claims may look at every step
    asked = Recorded(job.run.folder, record.begun(job))
    tracked = trackers.live(config.get("sinks", ()), asked, job.request.sweep)
    sinks = [*record.sinks(run, ledger.name, progress=progress), *([memory] if memory else []), *tracked]
    pause = Pause(job, run, interrupted)
    scan: Scan | None = None
    mistake: UserError | None = None
    refused = False
    try:
        saved = None if new else checkpoint.load(folder, job.device, own(folder), partial(tell, folder))
        scan, pause.spent = saved or (None, 0.0)
        ledger.open()
        for sink in sinks:
            sink.open(run)
        if scan is not None:
            recall(run, sinks, scan)
        pause.alive(scan)
        scan = drive(job.topic, sinks, ranks.agree(scan), pause, ranks.agree)
        if scan.status is Status.INTERRUPTED and scan.step >= 0:
            pause.save(scan)
            scan = with_evidence(job, scan, sinks)
        if scan.status is Status.INTERRUPTED and not interrupted():  # by no signal
            raise UserError(f"{whose(config)} raised KeyboardInterrupt, and a run ends by itself. Take it out there")
        with ranks.by_itself():  # the others are gone by now
            outcome = record.concluded(job, scan, pause.seconds, memory)
    except (Exception, SystemExit, KeyboardInterrupt) as crash:
        mistake = blame(crash, config)
        if mistake is None and not isinstance(crash, Exception):
            raise
        refused = scan is None and isinstance(crash, Exception) and not origin(crash)  # by torch or the lab
        scan, outcome = None, record.failed(job, record.crash_line(mistake or crash), pause.seconds)
        record.write_log(folder, job.request.hidden(traceback.format_exc()))
    with ranks.by_itself():
        state = scan.state if scan is not None else {}
        status = 2 if mistake else record.exit_status(outcome)
        made = record.write(
            job, folder, outcome, sinks, lambda: ledger.write(partial(job.topic.write_artifacts, state)), status
        )
    if mistake is not None and refused and new and not pause.blocks:
        shutil.rmtree(folder, ignore_errors=True)
        raise mistake
    if folder != job.run.folder:
        if made["status"] in FINISHED:
            show(folder, job.run.folder)
            folder = job.run.folder
        else:
            made |= {"notes": [KEPT, *made["notes"]]}
    for sink in tracked:
        sink.end(read_run(folder))
    return made


def with_evidence(job: Job, scan: Scan, sinks: Sequence[Sink]) -> Scan:
    """An interrupted scan with evidence for where it stands, which a run that goes on from its checkpoint forgets. Of
    several ranks the others are gone by then."""
    rows = evidence_of_interrupted(job.topic, scan) if not ranks.several() else []
    for sink in sinks:
        sink.evidence(rows)
        sink.flush()
    return replace(scan, evidence=[*scan.evidence, *rows])


def workplace(job: Job) -> Path:
    """Where the run is computed: aside while there is a result to be kept, otherwise in its place.

    A run that ``rerun=true`` has begun goes on; what was begun without is begun anew.
    """
    folder = job.run.folder
    if job.run.config["rerun"]:
        aside = job.request.place.aside
        if finished(folder) is not None or aside.is_dir():
            return aside
        begun = read_record(folder)
        if folder.is_dir() and not ((begun or {}).get("config") or {}).get("rerun"):
            checkpoint.clear(folder, own(folder))
    elif (folder / RECORD).exists() and read_record(folder) is None:
        tell(folder, f"{RECORD} is damaged" + ("" if (folder / checkpoint.NAME).exists() else AGAIN))
    return folder


def recall(run: Run, sinks: Sequence[Sink], scan: Scan) -> None:
    """Tell the sinks that keep things in memory what was logged before, bit for bit."""
    names = [claim[key] for claim in run.config["claims"] for key in ("quantity", "same_as") if key in claim]
    names += [name for picture in run.pictures for name in picture.shows]
    from calclab.sink.recorded import recorded

    past = recorded(run.folder, names, scan.last)
    for sink in sinks:
        if getattr(sink, "remembers", False):
            sink.write(past)


def tell(folder: Path, text: str) -> None:
    """What the user should know of a run that goes on, or does not."""
    warn(f"{folder}: {text}")


class Pause:
    """Between two blocks: save the scan when it is time, give a sign of life, and ask whether to stop."""

    def __init__(self, job: Job, run: Run, interrupted: Callable[[], bool]) -> None:
        self.job, self.run, self.interrupted = job, run, interrupted
        self._marks: dict[str, checkpoint.Mark] = {}  # what was read of the files for checkpoints
        self._rows = RowFile(run.folder)  # what was written of the state's large tensors
        self.spent = 0.0  # seconds of earlier attempts
        self.blocks = 0  # that were written
        self._began = time.perf_counter()
        self._saved = self._seen = self._began

    @property
    def seconds(self) -> float:
        return self.spent + time.perf_counter() - self._began

    def __call__(self, scan: Scan) -> bool:
        self.blocks += 1
        now = time.perf_counter()
        if scan.status is Status.INTERRUPTED and now - self._saved >= self.run.config["checkpoint_every"]:
            self.save(scan)
        if now - self._seen >= HEARTBEAT:
            self.alive(scan)
        return self.interrupted()

    def save(self, scan: Scan) -> None:
        checkpoint.save(self.run.folder, scan, self.seconds, own(self.run.folder), self._marks, self._rows)
        self._saved = time.perf_counter()

    def alive(self, scan: Scan | None) -> None:
        """Write outcome.json as it stands: running, by whom, and when last seen."""
        self._seen = time.perf_counter()
        record.running(self.job, self.run.folder, -1 if scan is None else scan.step, self.seconds)
