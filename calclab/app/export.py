"""``calclab export``: runs put into an experiment tracker, MLflow or Weights & Biases, by the tracker's own library.

    calclab export mlflow outputs/descent/<run>              into mlruns/ here, or --to URI
    calclab export wandb outputs/sweeps/<sweep>              into wandb/ here, to be sent by wandb sync

Knobs become parameters, scalars of every step metrics, the values of the answer its summary, and the folder's files are
kept with the run. A run is known by its digest: what is there already is left alone.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from calclab.archive.run import RESULTS, Run
from calclab.difference.choice import choose
from calclab.errors import UserError
from calclab.report.page import answer
from calclab.text import say

PROJECT = "calclab"
DIGEST = "calclab.digest"  # the tag by which a run is found again
AT_ONCE, PARAMETERS, LONGEST = 1000, 100, 6000  # what MLflow takes in one call, and of a value
ODD = re.compile(r"[^\w./ :-]+")  # what MLflow's names may not hold


def main(words: Sequence[str]) -> int:
    """Export the runs that ``words`` name, a line each; exit status 0, and UserError for a word that names none."""
    parser = argparse.ArgumentParser("calclab export", description="Runs put into MLflow or Weights & Biases.")
    parser.add_argument("tracker", choices=list(TRACKERS), help="whose library writes (an extra of the same name)")
    parser.add_argument("runs", nargs="+", help="folders of runs or sweeps, patterns, digests")
    parser.add_argument("--to", metavar="PLACE", default="", help="MLflow: a folder or URI; W&B: a folder (default: .)")
    parser.add_argument("--project", default=PROJECT, help="the experiment, or project (%(default)s)")
    parser.add_argument("--outputs", default="outputs", help="where digests are looked for (%(default)s)")
    asked = parser.parse_args(words)
    if find_spec(asked.tracker) is None:
        raise UserError(f"calclab export {asked.tracker} needs an extra: pip install 'calclab[{asked.tracker}]'")
    runs = choose(asked.runs, Path(asked.outputs))
    with TRACKERS[asked.tracker](asked.to, asked.project) as put:
        for run in runs:
            say(f"{run.folder.name}: {put(run)}")
    return 0


Put = Callable[[Run], str]  # a run, to where it is now


@contextmanager
def mlflow(place: str, project: str) -> Iterator[Put]:
    """Into the tracking store at ``place``: a folder, or the URI of a server."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    uri = place if "://" in place else Path(place or "mlruns").resolve().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(project)
        experiment = known.experiment_id if known else client.create_experiment(project)
    except (MlflowException, OSError) as error:
        raise UserError(f"{uri} cannot be used ({str(error).splitlines()[0]}). Name another: --to mlruns") from None

    def put(run: Run) -> str:
        digest = str(run.digest or run.folder.name)
        if client.search_runs([experiment], f"tags.`{DIGEST}` = '{digest}'", max_results=1):
            return f"is in {uri} already"
        begun, ended = times(run)
        tags = {DIGEST: digest, "topic": run.topic, "verdict": str(run.fact("verdict")), "command": command(run)}
        made = client.create_run(experiment, start_time=begun, tags=tags, run_name=run.folder.name).info.run_id
        knobs = [Param(ODD.sub("_", name), str(value)[:LONGEST]) for name, value in sorted(run.knobs.items())]
        for first in range(0, len(knobs), PARAMETERS):
            client.log_batch(made, params=knobs[first : first + PARAMETERS])
        metrics = [Metric(ODD.sub("_", name), value, ended, step) for name, step, value in courses(run)]
        for first in range(0, len(metrics), AT_ONCE):
            client.log_batch(made, metrics=metrics[first : first + AT_ONCE])
        client.log_batch(made, tags=[RunTag("headline", headline(run))])
        client.log_artifacts(made, str(run.folder))
        client.set_terminated(made, "FINISHED" if run.status in RESULTS else "FAILED", ended)
        return f"{uri}, run {made}"

    yield put


@contextmanager
def wandb(place: str, project: str) -> Iterator[Put]:
    """Into a folder of runs that ``wandb sync`` sends: nothing leaves the machine before that is typed."""
    import wandb as library

    folder = Path(place or ".")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be used ({error.strerror}). Name a folder: --to .") from None

    def put(run: Run) -> str:
        digest = str(run.digest or run.folder.name)
        if there := sorted(folder.glob(f"wandb/offline-run-*-{digest}")):
            return f"is in {there[0]} already"
        settings = library.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        made = library.init(
            project=project, dir=str(folder), id=digest, name=run.folder.name, group=run.topic, mode="offline",
            config=run.knobs, notes=headline(run), settings=settings,
        )  # fmt: skip
        for step, row in run.scalars.iterrows() if run.names.get("scalars") else ():
            made.log({str(name): float(value) for name, value in row.items()}, step=int(str(step)))
        made.summary.update({**run.values, "status": run.status, "verdict": run.fact("verdict")})
        for picture in sorted(run.folder.glob("*.png")):
            made.log({f"pictures/{picture.stem}": library.Image(str(picture))})
        place = Path(made.dir).parent
        made.finish(exit_code=0 if run.status in RESULTS else 1)
        return f"{place}. Send it: wandb sync {place}"

    yield put


TRACKERS = {"mlflow": mlflow, "wandb": wandb}


def courses(run: Run) -> Iterator[tuple[str, int, float]]:
    """Every number of every step, by name, step and value; of a run of one look the values of its answer."""
    logged = set(run.names["scalars"])  # read from the folder at every asking
    if logged:
        frame = run.scalars
        steps = [int(step) for step in frame.index]
        for name in frame.columns:
            yield from zip([str(name)] * len(steps), steps, frame[name].astype(float).tolist(), strict=True)
    last = int(run.outcome.get("steps") or 0)
    for name, value in run.values.items():
        if name not in logged and isinstance(value, int | float) and math.isfinite(value):
            yield name, last, float(value)


def headline(run: Run) -> str:
    """The answer's first line; of a run without an answer how it ended."""
    return answer(run.outcome)[0] or str(run.outcome.get("sentence") or run.status)


def command(run: Run) -> str:
    return str((run.outcome.get("provenance") or {}).get("command", ""))


def times(run: Run) -> tuple[int, int]:
    """When it began and ended, in milliseconds since 1970."""
    started = run.fact("started")
    begun = int(1000 * (datetime.fromisoformat(started).timestamp() if started else run.folder.stat().st_mtime))
    return begun, begun + int(1000 * float(run.outcome.get("seconds") or 0))
