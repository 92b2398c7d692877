"""What is written of a run: the sinks that log it, a sign of life while it lasts, and the record of how it ended."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calclab import checkpoint
from calclab.app.blame import blame
from calclab.app.build import Job
from calclab.app.place import FINISHED, this_process
from calclab.app.ranks import describe
from calclab.archive.folder import write_record
from calclab.core import Columns, Evidence, Outcome, Run, Scan, Sink, Status, Verdict
from calclab.report.outcome import json_value, outcome_dict
from calclab.report.summary import SummarySink
from calclab.sink.csv import CsvSink
from calclab.sink.memory import MemorySink
from calclab.sink.tensorboard import TensorBoardSink

SINKS = ("csv", "tensorboard")  # of a run that does not say: one of Python's, or of a version without the knob


def unlisted(names: Sequence[str]) -> None:
    """In a new folder, nobody asks whose the files are."""


def sinks(run: Run, announce: Callable[[Sequence[str]], None] = unlisted, *, progress: bool = False) -> list[Sink]:
    """CSV and summary always; TensorBoard, unless ``sinks`` leaves it out, after pictures and summary, which it shows.

    ``announce`` is told the names of files before they are made.
    """
    board = TensorBoardSink() if "tensorboard" in run.config.get("sinks", SINKS) else None
    found: list[Sink] = [CsvSink(announce)]
    if asked := run.config["figures"]:
        from calclab.sink.figures import FiguresSink

        found.append(FiguresSink(board, announce, "png" if asked is True else asked))
    found += [SummarySink(run, board), *([board] if board else [])]
    if progress and sys.stderr.isatty():
        from calclab.sink.progress import ProgressSink

        found.append(ProgressSink())
    return found


def log(sinks: Sequence[Sink], run: Run, columns: Columns, evidence: Sequence[Evidence]) -> None:
    """Tell the sinks at once all that a scan has brought."""
    for sink in sinks:
        sink.open(run)
        sink.write(columns)
        sink.evidence(evidence)
        sink.flush()


def failed(job: Job, error: str, seconds: float) -> Outcome:
    """The outcome of a run that came to nothing."""
    text = job.request.hidden(error)
    return Outcome(Status.FAILED, -1, seconds, {}, error=text, notes=job.notes, provenance=job.provenance)


def concluded(job: Job, scan: Scan, seconds: float, memory: MemorySink | None = None) -> Outcome:
    """The outcome of a scan that has ended; ``memory`` has what claims look at."""
    outcome = failed(job, "", seconds)
    outcome = replace(outcome, status=scan.status, steps=scan.step, last=scan.last, evidence=scan.evidence)
    if scan.step < 0:
        return outcome
    answer = job.topic.answer(scan.state)
    if memory is None or scan.status is Status.INTERRUPTED:
        return replace(outcome, answer=answer)
    from calclab.study.claims import check_claims

    return replace(
        outcome, answer=answer, claims=check_claims(job.run.config["claims"], answer, memory.columns, outcome)
    )


def exit_status(outcome: Outcome) -> int:
    """0 done (converged and diverged are results), 1 crash, 3 refuted or a claim not held, 130 interrupted."""
    if outcome.status is Status.INTERRUPTED:
        return 128 + signal.SIGINT
    if outcome.status is Status.FAILED:
        return 1
    refuted = any(row.verdict is Verdict.REFUTED for row in outcome.evidence)
    return 3 if refuted or not all(claim.holds for claim in outcome.claims) else 0


def content(run: Run, outcome: Outcome, identity: dict[str, Any], status: int) -> dict[str, Any]:
    """What outcome.json holds of a run that has ended; ``identity`` tells it from others."""
    return outcome_dict(run, outcome) | identity | {"exit": status}


def identity(job: Job) -> dict[str, Any]:
    """What tells a run from others, and its configuration."""
    request = job.request
    asked = {"choices": dict(request.choices), "asked": list(request.overrides)}
    return {"digest": request.place.digest, "config": json_value(job.run.config), **asked}


def running(job: Job, folder: Path, step: int, seconds: float) -> None:
    """outcome.json of a run that goes on."""
    write_record(folder, begun(job, step, seconds))


def begun(job: Job, step: int = -1, seconds: float = 0.0) -> dict[str, Any]:
    """The record of a run that goes on: by whom it is computed, and when that was last seen."""
    run = job.run
    made = {
        "topic": run.topic,
        "subject": run.subject,
        "title": run.title,
        "status": "running",
        "steps": step,
        "seconds": seconds,
        "heartbeat": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": json_value(job.provenance),
    }
    return {**made, **this_process(), **identity(job)}


def write(
    job: Job, folder: Path, outcome: Outcome, sinks: Sequence[Sink], leave: Callable[[], None], status: int
) -> dict[str, Any]:
    """Close the sinks and write outcome.json into ``folder``; a disk that is full must not hide the outcome.

    ``leave`` is what the topic does when the run has come to its end, ``status`` the exit status.
    """
    record = content(job.run, outcome, identity(job), status)
    try:
        for sink in sinks:
            sink.close(outcome)
        if record["status"] in FINISHED:
            leave()
        write_record(folder, record)
        if record["status"] in FINISHED and (folder / checkpoint.NAME).exists():
            checkpoint.finish(folder)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # of the disk, or of a network that is drawn
        mistake = blame(error, job.run.config)
        if mistake is None and not isinstance(error, OSError):
            raise
        if not outcome.error:
            told = job.request.hidden(crash_line(mistake or error))
            how = {"status": Status.FAILED.word, "sentence": Status.FAILED.value}
            record |= {**how, "error": told, "exit": 1 if mistake is None else 2}
        if mistake is not None:
            write_record(folder, record)
    return record


def crash_line(crash: BaseException) -> str:
    """A crash in a line."""
    if isinstance(crash, OSError) and crash.strerror:
        return f"{crash.strerror}. What was logged before is kept; the same command goes on from there"
    return describe(crash)


def write_log(folder: Path, text: str) -> None:
    """The traceback of a crash, in the run's own error.log."""
    with contextlib.suppress(OSError):  # the disk may be what the crash is about
        (folder / "error.log").write_text(text, encoding="utf-8")
