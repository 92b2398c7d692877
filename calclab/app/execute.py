"""From a job to an outcome: the scan driven, saved now and then, and written down however it ends."""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from calclab import checkpoint
from calclab.app.blame import blame, whose
from calclab.app.job import Job
from calclab.app.ledger import Ledger, tell_moved
from calclab.app.output import make_sinks
from calclab.app.place import FINISHED, finished, here
from calclab.app.ranks import agree, describe
from calclab.app.status import exit_status
from calclab.archive.own import blocked, own
from calclab.archive.run import read_record
from calclab.archive.seal import sealed
from calclab.archive.swap import show
from calclab.core import Outcome, Run, Scan, Sink, Status
from calclab.drive import drive
from calclab.errors import UserError, origin
from calclab.report.outcome import RECORD, outcome_dict, plain, write_record
from calclab.report.terminal import lines
from calclab.sink.memory import MemorySink
from calclab.sink.recorded import recorded
from calclab.study.claims import check_claims
from calclab.subject.distributed import alone
from calclab.text import warn

AGAIN = ": the run is begun anew"
HEARTBEAT = 5.0  # seconds between two signs of life in outcome.json


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
    tell_moved(folder, blocked(folder))
    memory, ledger = MemorySink(), Ledger()  # claims may look at every step
    sinks = [ledger, *make_sinks(run, progress=progress), *([memory] if config["claims"] else [])]
    pause = Pause(job, run, interrupted)
    scan: Scan | None = None
    mistake: UserError | None = None
    refused = False
    try:
        saved = checkpoint.load(folder, job.device, own(folder), partial(tell, folder))
        scan, pause.spent = saved or (None, 0.0)
        for sink in sinks:
            sink.open(run)
        if scan is not None:
            recall(run, sinks, scan)
        pause.alive(scan)
        scan = drive(job.topic, sinks, agree(scan), pause, agree)
        if scan.status is Status.INTERRUPTED and scan.step >= 0:
            pause.save(scan)
        if scan.status is Status.INTERRUPTED and not interrupted():  # by no signal
            raise UserError(f"{whose(config)} raised KeyboardInterrupt, and a run ends by itself. Take it out there")
        outcome = conclude(job, scan, pause.seconds, memory)
    except (Exception, SystemExit, KeyboardInterrupt) as crash:
        mistake = blame(crash, config)
        if mistake is None and not isinstance(crash, Exception):
            raise
        refused = scan is None and isinstance(crash, Exception) and not origin(crash)  # by torch or the lab
        scan, outcome = None, failed(job, told(crash if mistake is None else mistake), pause.seconds)
        write_log(folder, job.hidden(traceback.format_exc()))
    with alone():  # other ranks take no part in this
        state = scan.state if scan is not None else {}
        status = 2 if mistake else exit_status(outcome)
        record = write_down(job, folder, outcome, sinks, lambda: ledger.leave(job.topic, state), status)
    if mistake is not None and refused and new and not pause.blocks:
        shutil.rmtree(folder, ignore_errors=True)
        raise mistake
    if folder == job.run.folder:
        return record
    if record["status"] in FINISHED:
        show(folder, job.run.folder)
        return record
    kept = "the earlier result is kept until this run has ended; the same command goes on with it"
    return record | {"lines": [*record["lines"], ["note", kept, "yellow"]]}


def workplace(job: Job) -> Path:
    """Where the run is computed: aside while there is a result to be kept, otherwise in its place.

    A run that ``rerun=true`` has begun goes on; what was begun without is begun anew.
    """
    folder = job.run.folder
    if job.run.config["rerun"]:
        if finished(folder) is not None or job.place.aside.is_dir():
            return job.place.aside
        begun = read_record(folder)
        if begun is None or not (begun.get("config") or {}).get("rerun"):
            checkpoint.clear(folder, own(folder))
    elif (folder / RECORD).exists() and read_record(folder) is None:
        tell(folder, f"{RECORD} is damaged" + ("" if (folder / checkpoint.NAME).exists() else AGAIN))
    return folder


def failed(job: Job, error: str, seconds: float) -> Outcome:
    """The outcome of a run that came to nothing."""
    return Outcome(Status.FAILED, -1, seconds, {}, error=job.hidden(error), notes=job.notes, provenance=job.provenance)


def conclude(job: Job, scan: Scan, seconds: float, memory: MemorySink) -> Outcome:
    """The outcome of a scan that has ended."""
    outcome = failed(job, "", seconds)
    outcome = replace(outcome, status=scan.status, steps=scan.step, last=scan.last, evidence=scan.evidence)
    if scan.step < 0:
        return outcome
    answer = job.topic.answer(scan.state)
    ended = scan.status is not Status.INTERRUPTED
    claims = check_claims(job.run.config["claims"], answer, memory.columns, outcome) if ended else ()
    return replace(outcome, answer=answer, claims=claims)


def write_down(
    job: Job, folder: Path, outcome: Outcome, sinks: list[Sink], leave: Callable[[], None], status: int
) -> dict[str, Any]:
    """Close the sinks and write outcome.json into ``folder``; a disk that is full must not hide the outcome.

    ``leave`` is what the topic does when the run has come to its end, ``status`` the exit status.
    """
    record = outcome_dict(job.run, outcome) | identity(job) | {"exit": status}
    record["lines"] = list(lines(job.run, outcome))
    try:
        for sink in sinks:
            sink.close(outcome)
        if record["status"] in FINISHED:
            leave()
        write_record(folder, record, sealed)
        if record["status"] in FINISHED:
            checkpoint.finish(folder)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # of the disk, or of a network that is drawn
        mistake = blame(error, job.run.config)
        if mistake is None and not isinstance(error, OSError):
            raise
        if not outcome.error:
            said = job.hidden(told(error if mistake is None else mistake))
            record |= {"status": Status.FAILED.word, "error": said, "exit": 1 if mistake is None else 2}
            record["lines"] = [*record["lines"], ["error", said, "bold red"]]
        if mistake is not None:
            write_record(folder, record, sealed)
    return record


def identity(job: Job) -> dict[str, Any]:
    """What tells a run from others, and its configuration."""
    asked = {"choices": dict(job.choices), "asked": list(job.asked)}
    return {"digest": job.place.digest, "config": plain(job.run.config), **asked}


def recall(run: Run, sinks: list[Sink], scan: Scan) -> None:
    """Tell the sinks that keep things in memory what was logged before, bit for bit."""
    names = [claim[key] for claim in run.config["claims"] for key in ("quantity", "same_as") if key in claim]
    names += [name for picture in run.pictures for name in picture.shows]
    past = recorded(run.folder, names, scan.last)
    for sink in sinks:
        if getattr(sink, "remembers", False):
            sink.write(past)


def told(crash: BaseException) -> str:
    """A crash in a line."""
    if isinstance(crash, OSError) and crash.strerror:
        return f"{crash.strerror}. What was logged before is kept; the same command goes on from there"
    return describe(crash)


def tell(folder: Path, text: str) -> None:
    """What the user should know of a run that goes on, or does not."""
    warn(f"{folder}: {text}")


def write_log(folder: Path, text: str) -> None:
    """The traceback of a crash, in the run's own error.log."""
    with contextlib.suppress(OSError):  # the disk may be what the crash is about
        (folder / "error.log").write_text(text, encoding="utf-8")


class Pause:
    """Between two blocks: save the scan when it is time, give a sign of life, and ask whether to stop."""

    def __init__(self, job: Job, run: Run, interrupted: Callable[[], bool]) -> None:
        self.job, self.run, self.interrupted = job, run, interrupted
        self._marks: dict[str, checkpoint.Mark] = {}  # what was read of the files for checkpoints
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
        checkpoint.save(self.run.folder, scan, self.seconds, own(self.run.folder), self._marks)
        self._saved = time.perf_counter()

    def alive(self, scan: Scan | None) -> None:
        """Write outcome.json as it stands: running, by whom, and when last seen."""
        self._seen = time.perf_counter()
        run = self.run
        record: Mapping[str, Any] = {
            "topic": run.topic,
            "subject": run.subject,
            "title": run.title,
            "status": "running",
            "steps": -1 if scan is None else scan.step,
            "seconds": self.seconds,
            "heartbeat": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": plain(self.job.provenance),
        }
        write_record(run.folder, {**record, **here(), **identity(self.job)}, sealed)
