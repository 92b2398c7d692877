"""A watch in a folder of the lab's, which grows while the training goes on; ``calclab report``, ``runs``, ``compare``
and ``calclab.load`` read it as that of any run.

Readings are scalars by their names; those of layers, ``layers/<kind>/<layer>``, are trajectories with an entry each. A
kill leaves what was seen, in a run that says that it was interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import torch

from calclab.app import record
from calclab.app.place import this_process
from calclab.app.provenance import provenance
from calclab.archive.folder import write_record
from calclab.archive.lock import hold, lock_file
from calclab.core import Column, Evidence, Outcome, Picture, Run, Sink, Tracks
from calclab.core.picture import Curves, Guide
from calclab.errors import UserError
from calclab.report.outcome import json_value
from calclab.watch.logs import About, Ending, plain
from calclab.watch.moment import Event, Reading
from calclab.watch.summary import LAYERS

TOPIC = "watch"
HEARTBEAT = 5.0  # seconds between two signs of life
RATIOS = ("curvature/stability_ratio", "curvature/batch_stability_ratio")
PICTURES: tuple[Picture, ...] = (
    Curves("training_loss", ("loss/loss",)),
    Curves("gradient_and_step", ("gradient/norm", "update/norm")),
    Curves("stability_ratio", RATIOS, log="", guides=(Guide("the edge of stability", 1.0, 1.0),)),
    Curves("sharpness", ("curvature/sharpness", "curvature/batch_sharpness")),
    Curves("noise_scale", ("noise/scale", "noise/scale_pooled")),
    Curves("successive_gradients", ("gradient/cosine_to_previous",), log=""),
    Tracks("layer_gradients", "layers/gradient_norm", log="y"),
    Tracks("layer_updates", "layers/update_to_weight", log="y"),
)


class Folder:
    """The log. The folder must be new or empty."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
            raise UserError(f"log={str(path)!r} is there already and holds something. Give a new folder, or remove it")
        self._held = ExitStack()
        self._sinks: list[Sink] = []
        self._labels: dict[str, tuple[Sequence[str], ...]] = {}  # of the layers, known when they are seen first

    def open(self, about: About) -> None:
        """Make the folder, and hold it where it lies among others: outputs/watch/<name>."""
        self._begun = self._beat = time.monotonic()
        seed = torch.initial_seed()
        place = {"device": about.device, "dtype": about.dtype, "seed": seed}
        config = {"topic": {"name": TOPIC}, **about.config, **place, "figures": True, "claims": []}
        made = provenance((), device=torch.device(about.device), dtype=about.dtype, seed=seed)
        self._provenance = {**made, "command": "calclab.Watch(model, criterion, optimizer)"}
        started = datetime.now(UTC).isoformat()
        digest = sha256(f"{self.path.resolve()} {os.getpid()} {started}".encode()).hexdigest()[:12]
        self._identity = {"digest": digest, "config": json_value(config), "choices": {"optimizer": about.optimizer}}
        self._run = Run(
            topic=TOPIC,
            subject=about.model,
            title=f"watch of {about.model}",
            folder=self.path,
            steps=1,
            labels=self._labels,
            pictures=PICTURES,
            config=config,
            about=f"{about.model}, {about.parameters:,} parameters; {about.optimizer}",
            choices={"optimizer": about.optimizer},
        )
        self.path.mkdir(parents=True, exist_ok=True)
        if self.path.absolute().parent.name == TOPIC:
            self._held.enter_context(hold(lock_file(self.path.absolute().parent.parent, TOPIC, digest)))
        self._sinks = record.sinks(self._run)
        for sink in self._sinks:
            sink.open(self._run)
        self._running(0)

    def write(self, step: int, readings: Sequence[Reading], evidence: Sequence[Evidence]) -> None:
        columns = self._columns(step, readings)
        for sink in self._sinks:
            sink.write(columns)
            sink.evidence(evidence)
            sink.flush()
        if time.monotonic() - self._beat > HEARTBEAT:
            self._beat = time.monotonic()
            self._running(step)

    def event(self, event: Event) -> None:
        """Told in the answer."""

    def close(self, ending: Ending) -> None:
        outcome = Outcome(
            status=ending.status,
            steps=ending.steps,
            seconds=time.monotonic() - self._begun,
            last={name: torch.tensor(value, dtype=torch.float64) for name, value in plain(ending.last).items()},
            answer=ending.answer,
            evidence=ending.evidence,
            error=ending.error,
            provenance=self._provenance,
        )
        with self._held:
            for sink in self._sinks:
                sink.close(outcome)
            run = replace(self._run, steps=ending.steps)
            write_record(self.path, record.content(run, outcome, self._identity, record.exit_status(outcome)))
        self._sinks = []

    def _running(self, step: int) -> None:
        """outcome.json of a training that goes on."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        run, seconds = self._run, time.monotonic() - self._begun
        told = {"topic": run.topic, "subject": run.subject, "title": run.title, "status": "running", "steps": step}
        told |= {"seconds": seconds, "heartbeat": now, "provenance": json_value(self._provenance)}
        write_record(self.path, {**told, **this_process(), **self._identity})

    def _columns(self, step: int, readings: Sequence[Reading]) -> dict[str, Column]:
        """Scalars by name, and rows of the layers; a layer that was not read is NaN."""
        found: dict[str, Column] = {}
        rows: dict[str, dict[str, float]] = {}
        for name, value in plain(readings).items():
            if name.startswith(LAYERS) and name.count("/") > 1:
                kind, _, layer = name.removeprefix(LAYERS).partition("/")
                rows.setdefault(LAYERS + kind, {})[layer] = value
            else:
                found[name] = Column([step], torch.tensor([value], dtype=torch.float64))
        for name, row in rows.items():
            (layers,) = self._labels.setdefault(name, (list(row),))
            data = torch.tensor([[row.get(layer, torch.nan) for layer in layers]], dtype=torch.float64)
            found[name] = Column([step], data)
        return found
