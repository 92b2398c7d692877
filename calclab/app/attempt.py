"""One run, however it was asked for: found finished, or held and executed. No torch until it has to be computed."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calclab.app import place, ranks
from calclab.app.check import check_config
from calclab.app.choice import chosen, trimmed
from calclab.app.place import Place
from calclab.app.secrets import unspoken
from calclab.app.signals import RUN, signals
from calclab.text import warn


@dataclass(frozen=True)
class Attempt:
    """What became of it: the run's record, where it lies, and whether it was finished before."""

    folder: Path
    record: dict[str, Any]
    before: bool


@dataclass(frozen=True)
class Asked:
    """A run that was asked for: its configuration, checked and without what it has no use for, and its place."""

    config: Mapping[str, Any]
    choices: Mapping[str, Any]
    overrides: Sequence[str]
    words: Sequence[str]
    place: Place

    def finished(self) -> dict[str, Any] | None:
        """The record of the run if it need not be computed; all ranks hear the same. UserError where a run that is to
        be computed could not be written down."""
        record = None if self.config["rerun"] else self.place.finished()
        if record is None:
            self.place.check_writable()
        return ranks.agree(record)

    def settled(self, anew: bool) -> dict[str, Any] | None:
        """The same for whoever holds the run: what was computed ``anew`` by a process since killed, is what
        ``rerun=true`` asks for."""
        return ranks.agree(self.place.finished() if anew or not self.config["rerun"] else None)


def ask(
    config: Mapping[str, Any], choices: Mapping[str, str | None], overrides: Sequence[str], words: Sequence[str]
) -> Asked:
    """The run of a composed configuration; ``words`` are what the user typed, ``overrides`` what they stand for."""
    with unspoken(config):
        check_config(config, choices)
    config = trimmed(config, chosen(choices, overrides))
    return Asked(config, choices, overrides, words, place.locate(config, choices["topic"] or "", words))


def attempt(asked: Asked, *, progress: bool = False) -> Attempt:
    """Find the run or compute it. Of several ranks the first alone has a record; that of the others is their exit."""
    folder = asked.place.folder
    if record := asked.finished():
        return Attempt(folder, record, before=True)
    from calclab.app.blame import blamed
    from calclab.app.job import prepare

    with unspoken(asked.config), blamed(asked.config):
        job = prepare(asked)
    gc.enable()  # a single run has put it off
    if not ranks.first():
        return Attempt(folder, {"exit": ranks.follow(job)}, before=False)
    with asked.place.held() as anew, signals(RUN) as received:
        if record := asked.settled(anew):  # while we waited
            return Attempt(folder, record, before=True)
        from calclab.app.execute import execute

        if progress:
            for note in job.topic.notes():  # before the first step, not only at the end
                warn(note)
        record = execute(job, lambda: bool(received), progress=progress)
    if received and record["status"] == "interrupted":
        record["exit"] = 128 + received[0]
    return Attempt(folder, record, before=False)
