"""MLflow: runs in the tracking store that MLFLOW_TRACKING_URI names, by default MLflow's own in the current folder.

Its library writes: metrics in blocks, the evidence by ``log_table``, files as artifacts. The jobs of a sweep have a
parent, the run that is called like the sweep. MLflow keeps an infinity as ±1.8e308 in a database, and takes no
bracket, Greek sign or the like in a name that its own rule refuses: there stands ``_``, and at the end a checksum.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.lock import hold, lock_file
from calclab.archive.run import RESULTS, Run
from calclab.errors import UserError
from calclab.sink.tracker import (
    DIGEST,
    ENDED,
    PROJECT,
    USERINFO,
    Courses,
    Entry,
    entry,
    evidence,
    files,
    headline,
    reason,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Kept

AT_ONCE, PARAMETERS = 1000, 100  # metrics and parameters that MLflow takes in one call
LONGEST, NAME = 6000, 250  # characters of a value, of a name
ODD = re.compile(r"[^\w./ :-]+")  # what MLflow's names may not hold
SQLITE = "sqlite:///"
PARENT = "mlflow.parentRunId"
VERIFY = "verify.json"  # the table of the evidence
STATES = {**dict.fromkeys(RESULTS, "FINISHED"), "interrupted": "KILLED", "running": "RUNNING"}  # any other is FAILED
STEPS = "calclab.steps"  # the tag that tells how far a run had come that may go on
PATIENCE = 30.0  # seconds to wait for another job that makes the sweep's run
DEFAULTS = {  # unless the user says otherwise: a server that is down holds no run up, and nothing is told to others
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Mlflow:
    """See the module's docstring. ``place`` is a folder or the URI of a store, ``project`` the experiment.

    Raises UserError for a place that cannot be used.
    """

    name = "mlflow"

    def __init__(self, place: str = "", project: str = "") -> None:
        self._place, self._project = place, project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        self._client: MlflowClient | None = None
        self._experiment = self.uri = self._run = ""
        self._last: dict[str, int] = {}  # the last step that is there, by name

    @property
    def client(self) -> MlflowClient:
        """The connection, made when it is needed."""
        if self._client is None:
            for variable, value in DEFAULTS.items():
                os.environ.setdefault(variable, value)
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # that a database is made
            from mlflow import MlflowClient, get_tracking_uri

            self.uri = uri_of(self._place) or get_tracking_uri()
            if self.uri.startswith("file:"):
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            make_whole(self.uri)
            self._client = MlflowClient(tracking_uri=self.uri)
            self._experiment = experiment(self._client, self._project)
        return self._client

    @property
    def experiment(self) -> str:
        """The id of the experiment, which is made at need."""
        _ = self.client
        return self._experiment

    def open(self) -> None:
        """UserError where the store cannot be used."""
        try:
            _ = self.client
        except Exception as error:
            place, other = open_uri(self.uri or self._place), "Name another: --to sqlite:///mlflow.db"
            raise UserError(f"{place} cannot be used ({reason(error)}). {other}") from None

    def there(self, entry: Entry, run: Run) -> str:
        for found in self._tagged(entry.digest):
            ended = found.data.tags.get("status") or ("" if found.info.status == "RUNNING" else ENDED[0])
            same = (ended, found.data.tags.get(STEPS)) == (run.status, str(run.outcome.get("steps")))
            if ended in ENDED or same:
                return open_uri(self.uri)
        return ""

    def begin(self, entry: Entry, known: str) -> str:
        found = self._found(known) if known else None
        self._last = {}
        if found is not None:
            self._run = found.info.run_id
            self._last = {metric.key: metric.step for metric in found.data.to_proto().metrics}
            self.client.update_run(self._run, status="RUNNING")
            return self._run
        tags = {DIGEST: entry.digest, "topic": entry.topic, "command": entry.command[:LONGEST]}
        if entry.sweep is not None:
            tags[PARENT] = self._parent(entry.sweep)
        made = self.client.create_run(self._experiment, start_time=entry.begun, tags=tags, run_name=entry.name)
        self._run = made.info.run_id
        from mlflow.entities import Param

        knobs = [Param(allowed(name), str(value)[:LONGEST]) for name, value in sorted(entry.knobs.items())]
        for part in parts(knobs, PARAMETERS):
            self.client.log_batch(self._run, params=part)
        return self._run

    def log(self, courses: Courses) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = []
        for name, (steps, values) in courses.items():
            key = allowed(name)
            last = self._last.get(key, -1)
            metrics += [Metric(key, v, now, k) for k, v in zip(steps, values, strict=True) if k > last]
            self._last[key] = max(last, steps[-1])
        for part in parts(metrics, AT_ONCE):
            self.client.log_batch(self._run, metrics=part)

    def end(self, run: Run, last: Mapping[str, float]) -> str:
        from mlflow.entities import RunTag

        steps = int(run.outcome.get("steps") or 0)
        self.log({name: ([max(steps, 0)], [value]) for name, value in last.items()})
        told = {"headline": headline(run), "verdict": run.fact("verdict"), "status": run.status, STEPS: steps}
        self.client.log_batch(self._run, tags=[RunTag(key, str(value)[:LONGEST]) for key, value in told.items()])
        for path in files(run):
            self.client.log_artifact(self._run, str(path))
        names, rows = evidence(run)
        there = {kept.path for kept in self.client.list_artifacts(self._run)}
        if rows and run.status in ENDED and VERIFY not in there:  # a table only grows
            self.client.log_table(self._run, {name: [row[i] for row in rows] for i, name in enumerate(names)}, VERIFY)
        self.client.set_terminated(self._run, STATES.get(run.status, "FAILED"), ended(run))
        return f"{open_uri(self.uri)}, run {self._run}"

    def end_sweep(self, folder: Path, sentence: str, stopped: bool) -> None:
        for found in self._tagged(folder.name):
            self.client.set_tag(found.info.run_id, "headline", sentence[:LONGEST])
            for path in (*folder.glob("sweep.*"), *folder.glob("*.png")):
                self.client.log_artifact(found.info.run_id, str(path))
            self.client.set_terminated(found.info.run_id, "KILLED" if stopped else "FINISHED")

    def _tagged(self, digest: str) -> list[Kept]:
        """The runs of a digest, the newest first."""
        quote = '"' if "'" in digest else "'"
        return list(self.client.search_runs([self._experiment], f"tags.`{DIGEST}` = {quote}{digest}{quote}"))

    def _found(self, known: str) -> Kept | None:
        """The run of that id, if this store has it."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(known)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _parent(self, sweep: Path) -> str:
        """The run of a sweep, made by the first of its jobs."""
        lock = lock_file(sweep.parent.parent, "mlflow", sweep.name[-12:])
        with hold(lock, PATIENCE):
            if found := self._tagged(sweep.name):
                self.client.update_run(found[0].info.run_id, status="RUNNING")
                return found[0].info.run_id
            tags = {DIGEST: sweep.name, "topic": "sweep"}
            return self.client.create_run(self._experiment, tags=tags, run_name=sweep.name).info.run_id


def uri_of(place: str) -> str:
    """A place as MLflow names it: a folder is a store of files."""
    return place if not place or "://" in place else Path(place).resolve().as_uri()


def make_whole(uri: str) -> None:
    """A database of SQLite's that is not there yet, made aside: MLflow takes seconds for it, and one half made, by a
    process that was killed or by two at once, is never usable."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not uri.startswith(SQLITE) or path.exists() or not path.parent.is_dir():
        return
    from mlflow import MlflowClient

    made = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # MLflow remembers one that failed
    try:
        MlflowClient(tracking_uri=f"{SQLITE}{made}").search_experiments()
        with suppress(FileExistsError):  # another has made it meanwhile
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)


def open_uri(uri: str) -> str:
    """The URI without a password."""
    return USERINFO.sub("", uri)


def experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is made where there is none; another process may make it at the same time."""
    from mlflow.exceptions import MlflowException

    if known := client.get_experiment_by_name(name):
        return known.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        if known := client.get_experiment_by_name(name):
            return known.experiment_id
        raise


def allowed(name: str) -> str:
    """The name as MLflow takes it; where that is another, with a checksum, so that no two become one."""
    plain = ODD.sub("_", name)
    if posixpath.normpath(plain) != plain or plain.startswith((".", "/")):
        plain = plain.replace("/", "_").strip(".") or "_"
    return plain if plain == name and len(name) <= NAME else f"{plain[: NAME - 9]}_{zlib.crc32(name.encode()):08x}"


def parts(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entries[first : first + size] for first in range(0, len(entries), size))


def ended(run: Run) -> int:
    """When a run ended, in milliseconds since 1970."""
    return min(int(1000 * time.time()), entry(run, None).begun + int(1000 * float(run.outcome.get("seconds") or 0)))
