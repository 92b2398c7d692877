"""From a job to an outcome: the scan driven, saved now and then, and written down however it ends."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calclab import checkpoint
from calclab.app.job import Job
from calclab.app.output import make_sinks
from calclab.app.place import FINISHED, here
from calclab.app.ranks import agree, describe
from calclab.app.status import exit_status
from calclab.core import Outcome, Scan, Sink, State, Status
from calclab.drive import drive
from calclab.function.distributed import alone
from calclab.report.outcome import outcome_dict, plain, write_record
from calclab.report.terminal import lines
from calclab.sink.memory import MemorySink
from calclab.sink.recorded import recorded
from calclab.study.claims import check_claims

HEARTBEAT = 5.0  # seconds between two signs of life in outcome.json


def execute(job: Job, interrupted: Callable[[], bool], *, progress: bool = False) -> dict[str, Any]:
    """Run the job, from its checkpoint if there is one; the record that outcome.json holds.

    The caller holds the place. Every sink is closed and outcome.json written, however the run ends.
    """
    folder, config = job.run.folder, job.run.config
    folder.mkdir(parents=True, exist_ok=True)
    if config["rerun"]:
        checkpoint.clear(folder)
    memory = MemorySink()  # claims may look at every step
    sinks = make_sinks(job.run, progress=progress) + ([memory] if config["claims"] else [])
    pause = Pause(job, interrupted)
    scan: Scan | None = None
    error = ""
    try:
        saved = checkpoint.load(folder, job.device)
        scan, pause.spent = saved or (None, 0.0)
        for sink in sinks:
            sink.open(job.run)
        if scan is not None:
            recall(job, sinks)
        pause.alive(scan)
        scan = drive(job.topic, sinks, agree(scan), pause, agree)
        if scan.status is Status.INTERRUPTED and scan.step >= 0:
            checkpoint.save(folder, scan, pause.seconds)
    except Exception as crash:
        scan, error = None, told(crash)
        write_log(folder)
    with alone():  # other ranks take no part in this
        state = scan.state if scan is not None and scan.step >= 0 else None
        return write_down(job, folder, conclude(job, scan, error, pause.seconds, memory), sinks, state)


def conclude(job: Job, scan: Scan | None, error: str, seconds: float, memory: MemorySink) -> Outcome:
    """The outcome of a scan that has ended, or of none."""
    outcome = Outcome(Status.FAILED, -1, seconds, {}, error=error, notes=job.notes, provenance=job.provenance)
    if scan is None:
        return outcome
    outcome = replace(outcome, status=scan.status, steps=scan.step, last=scan.last, evidence=scan.evidence)
    if scan.step < 0:
        return outcome
    answer = job.topic.answer(scan.state)
    ended = scan.status is not Status.INTERRUPTED
    claims = check_claims(job.run.config["claims"], answer, memory.columns, outcome) if ended else ()
    return replace(outcome, answer=answer, claims=claims)


def write_down(job: Job, folder: Path, outcome: Outcome, sinks: list[Sink], state: State | None) -> dict[str, Any]:
    """Close the sinks and write outcome.json into ``folder``; a disk that is full must not hide the outcome."""
    record = outcome_dict(job.run, outcome) | identity(job) | {"exit": exit_status(outcome)}
    record["lines"] = list(lines(job.run, outcome))
    try:
        for sink in sinks:
            sink.close(outcome)
        if record["status"] in FINISHED and state is not None:
            job.topic.leave(state, folder)
        write_record(folder, record)
        if record["status"] in FINISHED:
            checkpoint.finish(folder)
    except OSError as error:
        if not outcome.error:
            record |= {"status": Status.FAILED.word, "error": told(error), "exit": 1}
            record["lines"] = [*record["lines"], ["error", told(error), "bold red"]]
    return record


def identity(job: Job) -> dict[str, Any]:
    """What tells a run from others, and its configuration."""
    asked = {"choices": dict(job.choices), "asked": list(job.asked)}
    return {"digest": job.place.digest, "config": plain(job.run.config), **asked}


def recall(job: Job, sinks: list[Sink]) -> None:
    """Tell the sinks that keep things in memory what was logged before."""
    names = [claim["quantity"] for claim in job.run.config["claims"]]
    names += [name for picture in job.run.pictures for name in picture.shows]
    past = recorded(job.run.folder, names)
    for sink in sinks:
        if getattr(sink, "remembers", False):
            sink.write(past)


def told(crash: Exception) -> str:
    """A crash in a line."""
    if isinstance(crash, OSError) and crash.strerror:
        return f"{crash.strerror}. What was logged before is kept; the same command goes on from there"
    return describe(crash)


def write_log(folder: Path) -> None:
    """The traceback of a crash, in the run's own error.log."""
    with contextlib.suppress(OSError):  # the disk may be what the crash is about
        (folder / "error.log").write_text(traceback.format_exc(), encoding="utf-8")


class Pause:
    """Between two blocks: save the scan when it is time, give a sign of life, and ask whether to stop."""

    def __init__(self, job: Job, interrupted: Callable[[], bool]) -> None:
        self.job, self.interrupted = job, interrupted
        self.spent = 0.0  # seconds of earlier attempts
        self._began = time.perf_counter()
        self._saved = self._seen = self._began

    @property
    def seconds(self) -> float:
        return self.spent + time.perf_counter() - self._began

    def __call__(self, scan: Scan) -> bool:
        now = time.perf_counter()
        if scan.status is Status.INTERRUPTED and now - self._saved >= self.job.run.config["checkpoint_every"]:
            checkpoint.save(self.job.run.folder, scan, self.seconds)
            self._saved = time.perf_counter()
        if now - self._seen >= HEARTBEAT:
            self.alive(scan)
        return self.interrupted()

    def alive(self, scan: Scan | None) -> None:
        """Write outcome.json as it stands: running, by whom, and when last seen."""
        self._seen = time.perf_counter()
        run = self.job.run
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
        write_record(run.folder, {**record, **here(), **identity(self.job)})
