"""A sweep: Hydra's multirun over any knob or group. Every job has its own folder and its row in the sweep's table.

A job that diverges is a result; one that fails is told at the end, and the others run all the same. Rows are files of
their own until the end, so that it does not matter in which process a launcher runs a job.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from calclab.app import catalogue, folder
from calclab.app.check import check_sweep
from calclab.app.command import status_of
from calclab.app.job import execute, prepare
from calclab.app.output import show_sweep
from calclab.app.signals import signals
from calclab.app.studies import register
from calclab.core import Outcome, Status
from calclab.errors import UserError

COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")


def sweep(words: Sequence[str]) -> int:
    """Run every job of the sweep and return the exit status: 0 when no job failed, else the worst of theirs."""
    register()
    check_sweep(words)
    outputs = next((word.partition("=")[2] for word in words if word.startswith("outputs=")), "outputs")
    place = folder.claim(Path(outputs), "sweeps", datetime.now().strftime("%Y-%m-%d-%H-%M-%S"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through, we say them better
    sys.argv = [sys.argv[0], "--multirun", *words, f"hydra.sweep.dir='{place}'"]
    start = hydra.main(config_path=str(catalogue.home("conf")), config_name="config", version_base="1.3")
    with signals() as received, contextlib.suppress(KeyboardInterrupt):
        start(job)()
    rows = collect(place)
    show_sweep(rows, place)
    return 128 + received[0] if received else max((int(row["exit"]) for row in rows), key=severity, default=0)


def severity(status: int) -> int:
    """Crash over wrong input over a refuted claim over success."""
    return (0, 3, 2, 1).index(status) if status in (0, 1, 2, 3) else 4


def job(config: DictConfig) -> float | None:
    """What Hydra calls for every job. It never raises but for an interrupt, and returns the objective."""
    runtime = HydraConfig.get()
    asked = list(runtime.overrides.task)
    row: dict[str, Any] = {"job": runtime.job.num, "overrides": " ".join(asked), "exit": 0}
    stopped = False
    try:
        ready = prepare(config, runtime, asked)
        with signals() as received:
            outcome = execute(ready, lambda: bool(received))
        row |= {"status": outcome.status.word, "objective": objective_of(outcome), "steps": outcome.steps}
        stopped = bool(received)
        row |= {
            "seconds": round(outcome.seconds, 4),
            "exit": status_of(outcome, received),
            "folder": str(ready.run.folder),
        }
        row["error"] = first_line(outcome.error)
    except UserError as mistake:
        row |= {"status": Status.FAILED.word, "exit": 2, "error": str(mistake)}
    except Exception as crash:
        row |= {"status": Status.FAILED.word, "exit": 1, "error": first_line(f"{type(crash).__name__}: {crash}")}
    (Path(runtime.sweep.dir) / f"{row['job']}.json").write_text(json.dumps(row), encoding="utf-8")
    if stopped:
        raise KeyboardInterrupt
    return row.get("objective")


def first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def objective_of(outcome: Outcome) -> float | None:
    """The first number of a topic's answer: what a sweeper may minimise."""
    values = outcome.answer.values.values() if outcome.answer else ()
    return next((float(v) for v in values if not isinstance(v, str) and v.numel() == 1), None)


def collect(place: Path) -> list[dict[str, Any]]:
    """The rows of all jobs in order, written to sweep.csv."""
    files = sorted(place.glob("*.json"), key=lambda file: int(file.stem))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    with (place / "sweep.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    for file in files:
        file.unlink()
    return rows
