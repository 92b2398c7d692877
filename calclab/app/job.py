"""One run: from a configuration to objects, through the scan, to an outcome in a folder of its own."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from calclab.app import folder, subject
from calclab.app.check import check_config
from calclab.app.compose import plain
from calclab.app.device import resolve
from calclab.app.output import make_sinks
from calclab.app.provenance import provenance
from calclab.core import Function, Outcome, Run, Status, Topic
from calclab.drive import Scan, drive
from calclab.errors import UserError
from calclab.function.network import Network
from calclab.report.outcome import write_outcome
from calclab.report.summary import write_summary
from calclab.sink.memory import MemorySink
from calclab.study.claims import check_claims, check_form

THREADS = torch.get_num_threads()
LARGE = 10**7  # parameters × rows from which on threads pay


@dataclass(frozen=True)
class Job:
    """A run that is ready: every mistake of the user's has been refused by now, and nothing written."""

    topic: Topic
    run: Run
    kind: str
    provenance: Mapping[str, Any]
    notes: Sequence[str]


def prepare(config: DictConfig, hydra: Any, words: Sequence[str]) -> Job:
    """Build everything that ``config`` names and claim the folder. Raises UserError, and then nothing was written.

    ``hydra`` is Hydra's own configuration of the job, ``words`` what to type to have it again.
    """
    lab, choices, asked = plain(config), dict(hydra.runtime.choices), list(hydra.overrides.task)
    check_config(lab, choices)
    check_form(lab["claims"])
    torch.set_num_threads(1)  # for small problems one thread beats two by far
    device, note = resolve(lab["device"], lab["dtype"])
    kind = subject.chosen(choices, asked)
    try:
        about = subject.build(kind, lab, choices, device)
        topic = build_topic(lab, about, choices["topic"])
    except InstantiationException as error:
        raise UserError(reason(error)) from error
    if work(about) > LARGE:
        torch.set_num_threads(THREADS)
    place = folder.claim(Path(lab["outputs"]), choices["topic"], folder.name(asked, lab))
    latex = [about.exact.latex] if isinstance(about, Function) and about.exact is not None else []
    title = f"{choices['topic']} of {about.name}"
    run = Run(choices["topic"], about.name, title, place, topic.steps, topic.labels(), topic.pictures(), lab, latex)
    notes = [text for text in (note, *getattr(about, "notes", ())) if text]
    return Job(topic, run, kind, provenance(words, device=device, dtype=lab["dtype"], seed=lab["seed"]), notes)


def work(about: Function | Network) -> int:
    """A measure of what one evaluation costs: parameters × rows."""
    return 0 if isinstance(about, Function) else len(about.rows) * sum(p.numel() for p in about.parameters().values())


def build_topic(config: Mapping[str, Any], about: object, name: str) -> Topic:
    parts = {"optimizer": instantiate(config["optimizer"], _convert_="all")} if config.get("optimizer") else {}
    make = instantiate(subject.unnamed(config["topic"]), _partial_=True, _convert_="all")
    return make(subject=about, **parts)  # not through Hydra, which would turn a dataclass into a dict


def reason(error: InstantiationException) -> str:
    """The user's mistake behind Hydra's wrapping; anything else is a crash and goes on as one."""
    cause = error.__cause__ or error
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, ImportError):
        return " ".join(str(cause).split())
    raise cause


def execute(job: Job, interrupted: Callable[[], bool], *, progress: bool = False) -> Outcome:
    """Run the job to its outcome. Every sink is closed and outcome.json written, however the run ends."""
    config = job.run.config
    memory = MemorySink()  # claims may look at every step
    sinks = make_sinks(figures=config["figures"], progress=progress) + ([memory] if config["claims"] else [])
    began = time.perf_counter()
    scan: Scan | None = None
    error = ""
    for sink in sinks:
        sink.open(job.run)
    try:
        scan = drive(job.topic, sinks, interrupted)
    except Exception as crash:
        error = f"{type(crash).__name__}: {crash}"
        (job.run.folder / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
    seconds = time.perf_counter() - began
    outcome = Outcome(Status.FAILED, -1, seconds, {}, error=error, notes=job.notes, provenance=job.provenance)
    if scan is not None:
        outcome = replace(outcome, status=scan.status, steps=scan.step, last=scan.last, evidence=scan.evidence)
    if scan is not None and scan.step >= 0:
        answer = job.topic.answer(scan.state)
        claims = check_claims(config["claims"], answer, memory.columns, outcome)
        outcome = replace(outcome, answer=answer, claims=claims)
    for sink in sinks:
        sink.close(outcome)
    write_summary(job.run.folder, job.run, outcome)
    write_outcome(job.run.folder, job.run, outcome)
    return outcome
