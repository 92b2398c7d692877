"""A sweep: Hydra's multirun over any knob or group, on any launcher. Every job is a run of its own, found again.

The same command runs only what is missing. A job that diverges is a result; one that fails is told at the end, and the
others run all the same. Rows come as files, so that it does not matter in which process a launcher runs a job.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from calclab.app import studies, trackers
from calclab.app.compose import lab_config
from calclab.app.place import DIGITS, PATIENCE, check_writable, finished, holder, named_place, this_process
from calclab.app.report import leave
from calclab.app.signals import SWEEP, signals
from calclab.app.sweep.isolated import isolated
from calclab.app.sweep.listing import show_sweep
from calclab.app.sweep.pictures import pictures
from calclab.app.sweep.ticket import ANEW, BUSY, COLUMNS, COUNT, SWEPT, Ticket, announced, ending, failed, keep, rows
from calclab.app.sweep.values import check_sweep
from calclab.app.words import read, text
from calclab.archive.lock import hold, lock_file
from calclab.archive.sweep import TABLE, Sweep, searched
from calclab.archive.sweep import job as as_job
from calclab.errors import UserError
from calclab.schema import catalogue
from calclab.text import cell

ASIDE = (
    "outputs=",
    "rerun=",
    "fail_fast=",
    "report=",
    "sinks=",
    "hydra/",
    "hydra.",
)  # words that do not change what is asked


def sweep(words: Sequence[str]) -> int:
    """Run every job of the sweep and return the exit status: 0 when no job failed, else the worst of theirs."""
    studies.register()
    place = folder(words, check_sweep(words))
    check_writable(place, place.parent.parent)
    lock = lock_file(place.parent.parent, "sweeps", place.name[-DIGITS:])
    with hold(lock, PATIENCE) as mine:  # its rows are read and removed by one process alone
        if mine is None:
            raise UserError(
                f"{place}: this sweep is being computed by {holder(lock)}. Wait for it; the same command then shows its"
                " results."
            )
        mine.say(this_process())
        return carry_out(words, place)


def carry_out(words: Sequence[str], place: Path) -> int:
    """The sweep in its folder, which the caller holds."""
    place.mkdir(parents=True, exist_ok=True)
    for stale in (*place.glob("*.json"), *place.glob(".*.json"), place / COUNT):
        stale.unlink(missing_ok=True)
    keys = (override.key_or_group for override in read(words, sweep=True) if override.is_sweep_override())
    (place / SWEPT).write_text("\n".join(keys), encoding="utf-8")
    anew = "rerun=true" in map(str.lower, words)
    if anew and not (place / ANEW).exists():
        (place / ANEW).touch()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through, we say them better
    paths = [studies.PLUGINS, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))  # engines start processes of their own
    sys.argv = [sys.argv[0], "--multirun", *words, f"hydra.sweep.dir={text(str(place))}"]
    start = hydra.main(config_path=str(catalogue.home("conf")), config_name="config", version_base="1.3")
    stopped = 0
    with signals(SWEEP) as received:
        try:
            start(job)()
        except KeyboardInterrupt as interrupt:
            stopped = (*interrupt.args, *received, 2)[0]
    done = collect(place)
    result = Sweep(place, [as_job(row, place) for row in done], searched(place))
    drawn = [] if stopped else pictures(result)
    show_sweep(result, max(announced(place), len(done)), drawn)
    if not stopped:
        from calclab.app.sweep import board

        board.write(result, drawn)
    if "report=true" in map(str.lower, words):
        leave(place)
    trackers.end_sweep(result, stopped=bool(stopped))
    (place / COUNT).unlink(missing_ok=True)
    if anew and not stopped:
        (place / ANEW).unlink(missing_ok=True)
    if stopped:
        print("interrupted: the same command goes on with what is missing")
        return 128 + stopped
    return max((int(row["exit"]) for row in done), key=severity, default=0)


def folder(words: Sequence[str], outputs: str) -> Path:
    """The sweep's folder, named by what was asked: outputs/sweeps/<overrides>-<digest>."""
    asked = [word for word in words if not word.startswith(ASIDE)]
    digest = hashlib.sha256("\n".join(sorted(asked)).encode()).hexdigest()[:12]
    return named_place(Path(outputs) / "sweeps", asked, digest)


def severity(status: int) -> int:
    """Crash over wrong input over a refuted claim over success."""
    return (0, 3, 2, 1).index(status) if status in (0, 1, 2, 3) else 4


def job(config: DictConfig) -> float | None:
    """What other launchers than ours call for every job, perhaps in another process."""
    runtime = HydraConfig.get()
    asked, choices = list(runtime.overrides.task), dict(runtime.runtime.choices)
    number, place = runtime.job.num, Path(runtime.runtime.cwd, runtime.sweep.dir)
    try:
        row = isolated(Ticket(number, asked, lab_config(config), choices, place), runtime.runtime.cwd)
    except UserError as mistake:
        row = keep({"job": number, "overrides": " ".join(asked)} | failed(2, str(mistake)), place)
    if row["exit"] > 128:
        raise KeyboardInterrupt(row["exit"] - 128)
    return row.get("objective")


def late(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a job that another process computed, which may have ended meanwhile."""
    if row["status"] != BUSY or (record := finished(Path(row["folder"]))) is None:
        return row
    return row | ending(Path(row["folder"]), record)


def collect(place: Path) -> list[dict[str, Any]]:
    """The rows of all jobs in order, written to sweep.csv."""
    found = [late(row) for row in rows(place)]
    with (place / TABLE).open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(
            {key: cell(value) if isinstance(value, str) else value for key, value in row.items()} for row in found
        )
    for file in place.glob("[0-9]*.json"):
        file.unlink()
    return found
