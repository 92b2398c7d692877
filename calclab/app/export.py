"""``calclab export``: runs put into an experiment tracker, MLflow or Weights & Biases, by the tracker's own library.

    calclab export mlflow outputs/descent/<run>              into MLflow's store here, or --to a folder or URI
    calclab export wandb outputs/sweeps/<sweep>              into wandb/ here, to be sent by wandb sync

What is told and under which names is in `calclab.sink.tracker`: the same as of a run with ``sinks='[csv,mlflow]'``. A
run is known by its digest: what is there already is left alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from calclab.app.trackers import TRACKERS, require, tracker
from calclab.archive.ranking import headline
from calclab.archive.sweep import is_sweep, read_sweep
from calclab.difference.choice import choose
from calclab.text import say

PLACES = "MLflow: a folder or URI (default: MLFLOW_TRACKING_URI, or MLflow's store here); W&B: a folder (default: .)"


def main(words: Sequence[str]) -> int:
    """Export the runs that ``words`` name, a line each; exit status 0, and UserError for a word that names none."""
    parser = argparse.ArgumentParser("calclab export", description="Runs put into MLflow or Weights & Biases.")
    parser.add_argument("tracker", choices=list(TRACKERS), help="whose library writes (an extra of the same name)")
    parser.add_argument("runs", nargs="+", help="folders of runs or sweeps, patterns, digests")
    parser.add_argument("--to", metavar="PLACE", default="", help=PLACES)
    parser.add_argument("--project", default="", help="the experiment, or project (calclab)")
    parser.add_argument("--outputs", default="outputs", help="where digests are looked for (%(default)s)")
    asked = parser.parse_args(words)
    require([asked.tracker], "calclab export ")
    runs = choose(asked.runs, Path(asked.outputs))
    sweeps = [read_sweep(Path(word)) for word in asked.runs if is_sweep(Path(word))]
    jobs = {os.path.realpath(job.folder): sweep.folder for sweep in sweeps for job in sweep.jobs if job.folder}
    os.environ["WANDB_MODE"] = "offline"  # nothing leaves this machine before wandb sync is typed
    from calclab.sink.tracker import put

    place = tracker(asked.tracker, place=asked.to, project=asked.project)
    place.open()
    for run in runs:
        say(f"{run.folder.name}: {put(place, run, jobs.get(os.path.realpath(run.folder)))}")
    for sweep in sweeps:
        place.end_sweep(sweep.folder, headline(sweep), stopped=False)
    return 0
