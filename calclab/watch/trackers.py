"""Readings in an experiment tracker: the user's own run there, or one that is made for the watch.

``log="mlflow"`` and ``log="wandb"`` take the run that is active, else they begin one and end it with the watch; a run
of W&B's, or of MLflow's, is taken as it is and left open. The step on the axis is the watch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calclab.app.trackers import require
from calclab.core import Evidence, Status
from calclab.watch.logs import About, Ending, plain
from calclab.watch.moment import Event, Reading

AXIS, EVENTS = "watch/step", "watch/events"


class MlflowLog:
    """A run of MLflow's: ``run`` as `mlflow.start_run` gives it, None for the active one or a new one."""

    def __init__(self, run: Any = None) -> None:
        self._run = run
        self._own = False
        self._texts: list[str] = []

    def open(self, about: About) -> None:
        from mlflow import MlflowClient, active_run

        from calclab.sink.mlflow import Mlflow

        self._run = self._run or active_run()
        self._own = self._run is None
        if self._own:
            place = Mlflow()
            self._client = place.client
            self._number = self._client.create_run(place.experiment, run_name=f"watch of {about.model}").info.run_id
        else:
            self._client, self._number = MlflowClient(), self._run.info.run_id

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        import time

        from mlflow.entities import Metric

        from calclab.sink.mlflow import AT_ONCE, allowed, parts

        now = int(1000 * time.time())
        metrics = [Metric(allowed(tag), value, now, step) for tag, value in plain(readings).items()]
        for part in parts(metrics, AT_ONCE):
            self._client.log_batch(self._number, metrics=part)

    def event(self, event: Event) -> None:
        self._texts.append(event.text)
        self._client.log_text(self._number, "\n".join(self._texts) + "\n", f"{EVENTS}.txt")

    def close(self, ending: Ending) -> None:
        if self._own:
            self._client.set_tag(self._number, "headline", ending.answer.headline)
            status = {Status.FAILED: "FAILED", Status.INTERRUPTED: "KILLED"}
            self._client.set_terminated(self._number, status.get(ending.status, "FINISHED"))


class WandbLog:
    """A run of Weights & Biases': ``run`` as `wandb.init` gives it, None for the active one or a new one.

    W&B counts rows, and drops one of a smaller number than the last. So that no row of the training's own is lost,
    readings join the row that is open, and bring their own axis.
    """

    def __init__(self, run: Any = None) -> None:
        self._run = run
        self._own = False
        self._texts: list[str] = []
        self._groups: set[str] = set()
        self._row = -1  # in which the last readings are

    def open(self, about: About) -> None:
        import wandb as library

        from calclab.sink.tracker import PROJECT
        from calclab.sink.wandb import begun

        self._run = self._run or library.run
        self._own = self._run is None
        if self._own:
            self._run = begun(name=f"watch of {about.model}", project=PROJECT, config=dict(about.config))

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        values = plain(readings)
        for group in {tag.partition("/")[0] for tag in values} - self._groups:
            self._groups.add(group)
            self._run.define_metric(f"{group}/*", step_metric=AXIS)
        if self._run.step == self._row:  # nothing was logged between: the row is ours alone
            self._run.log({}, commit=True)
        self._run.log({**values, AXIS: step}, commit=False)
        self._row = self._run.step

    def event(self, event: Event) -> None:
        self._texts.append(event.text)
        self._run.summary[EVENTS] = "\n".join(self._texts)

    def close(self, ending: Ending) -> None:
        if self._run.step == self._row:
            self._run.log({}, commit=True)
        if self._own:
            self._run.summary["headline"] = ending.answer.headline
            self._run.finish(exit_code=0 if ending.status not in (Status.FAILED, Status.INTERRUPTED) else 1)


def tracked(given: Any) -> MlflowLog | WandbLog | None:
    """The log that ``given`` names or is a run of; None for anything else. UserError where the extra is missing."""
    if isinstance(given, str):
        name, run = given, None
    else:
        name, run = type(given).__module__.partition(".")[0], given
    if name not in LOGS or (run is not None and not hasattr(run, RUNS[name])):
        return None
    require([name], "log=")
    return LOGS[name](run)


LOGS: dict[str, type[MlflowLog] | type[WandbLog]] = {"mlflow": MlflowLog, "wandb": WandbLog}
RUNS = {"mlflow": "info", "wandb": "define_metric"}  # what a run has, and nothing else of the library's
