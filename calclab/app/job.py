"""A job: everything that a configuration names, built and checked, and its place. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from calclab.app import ranks, subject
from calclab.app.attempt import Asked
from calclab.app.device import resolve
from calclab.app.method import LARGE, build_topic, work
from calclab.app.place import Place
from calclab.app.provenance import provenance
from calclab.app.secrets import hidden, shown
from calclab.app.sources import UNSEEN
from calclab.core import Function, Run, Topic
from calclab.study.claims import check_form

THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Job:
    """A run that is ready: every mistake of the user's has been refused by now."""

    topic: Topic
    run: Run
    place: Place
    choices: Mapping[str, str]
    asked: Sequence[str]
    device: torch.device
    provenance: Mapping[str, Any]
    notes: Sequence[str]
    hidden: Callable[[str], str]  # a message without what comes from the environment


def prepare(asked: Asked) -> Job:
    """Build what the configuration names. Raises UserError, and then nothing was written."""
    config, choices, place = asked.config, asked.choices, asked.place
    check_form(config["claims"])
    torch.set_num_threads(1)  # for small problems one thread beats two by far
    device, note = resolve(config["device"], config["dtype"])
    device = ranks.own(device)
    about = subject.build(config, choices, device)
    topic = build_topic(config, about)
    if work(about, config.get("batch")) > LARGE:
        torch.set_num_threads(THREADS)
    latex = [about.exact.latex] if isinstance(about, Function) and about.exact is not None else []
    title = f"{place.topic} of {about.name}"
    drawn = topic.labels(), topic.pictures()
    run = Run(place.topic, about.name, title, place.folder, topic.steps, *drawn, shown(config), latex)
    said = (note, *unseen(place.files), *getattr(about, "notes", ()), *topic.notes())
    notes = [hidden(text, config) for text in said if text]
    made = provenance(asked.words, device=device, dtype=config["dtype"], seed=run.config["seed"]) | {
        "files": place.files
    }
    return Job(topic, run, place, choices, asked.overrides, device, made, notes, partial(hidden, config=config))


def unseen(files: Mapping[str, str]) -> list[str]:
    """A note where the source of something named could not be read."""
    names = [name.removeprefix("code.") for name, digest in files.items() if digest == UNSEEN]
    if not names:
        return []
    return [f"the source of {', '.join(names)} is not seen: edited, it would be the same question. Then add rerun=true"]
