"""``calclab board SWEEP``: TensorBoard over the runs of a sweep, or over any runs, and no others, each called by what
tells it from the rest; while runs go on, new ones join.

What is shown is a folder of links to the event files, made for as long as TensorBoard runs. With it goes a record of
the experiment, which says which hyperparameters and metrics are shown, in which order: what differs alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from calclab.app.sweep.ticket import rows
from calclab.archive.naming import called
from calclab.archive.read import find
from calclab.archive.run import Run, read_run
from calclab.archive.sweep import TABLE, read_sweep
from calclab.errors import UserError
from calclab.sink.eventfile import EventFile, event_files
from calclab.sink.hyperparameters import GROUPS, Plain
from calclab.text import warn

WAIT = 5.0  # seconds between two looks for new runs
SHOWN = 4  # digits of the digest in a name
SCORES = ("held_out_accuracy", "held_out_r2", "train_accuracy", "train_r2")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="calclab board", description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("outputs")], help="sweeps, runs, or outputs")
    parser.add_argument("--port", default="6006", help="(%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="(%(default)s: this machine alone)")
    options = parser.parse_args(list(words))
    try:
        return show(options.folders, ["--port", options.port, "--host", options.host])
    except UserError as mistake:
        warn(str(mistake), "calclab board")
        return 2


def show(folders: Sequence[Path], words: Sequence[str]) -> int:
    """TensorBoard until it ends, or Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="calclab-board-") as place:
        runs = link(folders, Path(place))
        if not runs:
            raise UserError(f"{', '.join(map(str, folders))}: there are no runs with event files. Name a sweep or runs")
        if len(runs) > 1 and all(map(ended, folders)):
            describe(runs, Path(place) / "sweep")
        start = "from tensorboard.main import run_main; run_main()"
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # TensorBoard ends with the board
        process = subprocess.Popen([sys.executable, "-c", start, "--logdir", place, "--reload_interval=5", *words])
        try:
            while process.poll() is None:
                time.sleep(WAIT)
                link(folders, Path(place))
            return process.returncode
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            process.wait()


def link(folders: Sequence[Path], place: Path) -> list[Run]:
    """Fill ``place`` with a folder for each run, of links to its event files; the runs."""
    runs = [run for folder in folders for run in runs_of(folder)]
    names = dict(zip((run.folder for run in runs), named(runs), strict=True))
    own = {folder: "sweep" if len(folders) == 1 else f"sweep · {folder.name[-12:][:SHOWN]}" for folder in folders}
    for folder, name in {**names, **{folder: name for folder, name in own.items() if is_sweep(folder)}}.items():
        for path in event_files(folder) if folder.is_dir() else ():
            (place / name).mkdir(exist_ok=True)
            with suppress(FileExistsError):
                os.symlink(path.resolve(), place / name / path.name)
    return runs


def is_sweep(folder: Path) -> bool:
    return folder.parent.name == "sweeps" or ended(folder)


def ended(folder: Path) -> bool:
    """Whether a sweep has its table. Before, nobody knows yet in what its jobs will differ."""
    return (folder / TABLE).is_file()


def runs_of(folder: Path) -> list[Run]:
    """The runs of a sweep, finished or not; of an outputs folder; or the one of its own folder."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Name a sweep (outputs/sweeps/<sweep>), runs, or outputs")
    if is_sweep(folder):
        done = read_sweep(folder).jobs if ended(folder) else ()
        places = [job.folder for job in done] + [Path(row["folder"]) for row in rows(folder) if row.get("folder")]
        return [read_run(place) for place in dict.fromkeys(places) if place is not None and place.is_dir()]
    return [read_run(folder)] if event_files(folder) else find(folder)


def asked(run: Run) -> list[str]:
    """The words that the run was asked for with."""
    words = run.outcome.get("asked")
    return [str(word) for word in words] if isinstance(words, list) else []


def named(runs: Sequence[Run]) -> list[str]:
    """What each is called among the others: ``adam lr=0.01 · 5d9a``, with its topic where these differ."""
    common = set.intersection(*(set(asked(run)) for run in runs)) if len(runs) > 1 else set()
    topics = len({run.topic for run in runs}) > 1
    names = []
    for run in runs:
        pieces = called(word for word in asked(run) if word not in common)
        told = " ".join([run.topic, *pieces] if topics else pieces) or run.folder.name.rpartition("-")[0]
        digest = run.digest or run.folder.name
        names.append(f"{told[:80].strip()} · {digest[:SHOWN]}".replace("/", "÷"))
    return [
        name if names.count(name) == 1 else f"{name[:-SHOWN]}{run.digest}"
        for name, run in zip(names, runs, strict=True)
    ]


def describe(runs: Sequence[Run], place: Path) -> None:
    """The record of the experiment, in an event file of its own."""
    place.mkdir(exist_ok=True)
    file = EventFile(place, fresh=True)
    file.experiment(differing(runs), metrics(runs))
    file.close()


def metrics(runs: Sequence[Run]) -> dict[str, str]:
    """The metrics in the order of use, by tag, and what they are called."""
    measures = {run.objective[0] for run in runs if run.objective}
    measure = measures.pop().replace("_", " ") if len(measures) == 1 else "objective"
    found = {"answer/objective": measure}
    if measure != "loss" and any(run.topic == "descent" for run in runs):
        found["loss/loss"] = "loss"
    if score := next((name for name in SCORES if any(name in run.values for run in runs)), None):
        found[f"answer/score_{score}"] = score.replace("_", " ")
    return {**found, "run/diverged": "diverged", "run/steps": "steps", "run/seconds": "seconds"}


def differing(runs: Sequence[Run]) -> dict[str, list[Plain]]:
    """The hyperparameters in which the runs differ, and their values, groups first."""
    knobs = [hyper(run) for run in runs]
    names = dict.fromkeys(name for each in knobs for name in each)
    found = {name: [each[name] for each in knobs if name in each] for name in names}
    differ = {name: values for name, values in found.items() if len(set(map(str, values))) > 1}
    return dict(sorted(differ.items(), key=lambda item: item[0] not in GROUPS))


def hyper(run: Run) -> Mapping[str, Plain]:
    """What the run has told TensorBoard, as far as its words name it."""
    words = {word.lstrip("+").partition("=")[0] for word in asked(run)}
    return {k: v for k, v in run.knobs.items() if k in words and isinstance(v, bool | int | float | str)}
