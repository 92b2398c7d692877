"""Throwing runs away: only folders outputs/<topic>/<run>, links not followed, and never one that is being computed.

The lock of a run is held while it goes, so that nobody can begin it meanwhile. A folder is first moved aside, in one
step: whatever happens then, no half of a run is left where the lab would look for it. Where files of the user's lie in
it, it stays with them, and the run's own go one by one, its record first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from calclab.archive.disk import used
from calclab.archive.folder import LIST, MOVING, foreign, hidden
from calclab.archive.lock import hold, lock_file
from calclab.archive.query import order
from calclab.archive.read import OWN
from calclab.archive.run import DIGEST, Run

GONE = ".pruned"  # where folders are moved to, in outputs


@dataclass(frozen=True)
class Plan:
    """What would go and what stays, with the reason."""

    go: Sequence[Run]
    stay: Sequence[tuple[Run, str]]

    @property
    def frees(self) -> int:
        return sum(run.size for run in self.go)


@dataclass(frozen=True)
class Report:
    """What went, the bytes it freed, what could not go, and what of the user's was left of runs that went."""

    gone: Sequence[Run]
    freed: int
    stayed: Sequence[tuple[Run, str]]
    kept: Sequence[tuple[Run, Sequence[str]]] = ()


def plan(runs: Sequence[Run], *, keep_last: int = 0) -> Plan:
    """Which of ``runs`` may go: all but the newest ``keep_last`` and those that are being computed."""
    newest = order(runs)
    go, stay = [], [(run, f"among the newest {keep_last}") for run in newest[:keep_last]]
    for run in newest[keep_last:]:
        if run.status == "running":
            stay.append((run, "is being computed"))
        else:
            go.append(run)
    return Plan(go, stay)


def carry_out(made: Plan, outputs: Path) -> Report:
    """Remove what the plan says, each run as it is found now."""
    gone, stayed, kept, freed = [], [], [], 0
    remove(outputs / GONE)  # what an earlier prune, killed, had moved there
    for run in made.go:
        size = run.size
        trouble = throw_away(run.folder, run.digest, outputs)
        if trouble:
            stayed.append((run, trouble))
        else:
            gone.append(run)
            freed += size - used(run.folder)
            if run.folder.is_dir():
                kept.append((run, sorted(os.listdir(run.folder))))
    remove(outputs / GONE)
    return Report(gone, freed, stayed, kept)


def throw_away(folder: Path, digest: str | None, outputs: Path) -> str:
    """Remove one run's folder; why not, where it stays."""
    if not is_run(folder, outputs):
        return "is no folder of a run"
    try:
        with ExitStack() as stack:
            if digest is not None and not stack.enter_context(hold(lock_file(outputs, folder.parent.name, digest))):
                return "is being computed"
            aside = outputs / GONE / f"{os.getpid()}-{folder.parent.name}-{digest or folder.name}"
            if aside.parent.is_symlink():
                return f"would go through {aside.parent}, which is a link"
            aside.parent.mkdir(exist_ok=True)
            remove(aside)
            if digest is not None:
                for made in (hidden(folder, digest), hidden(folder, digest + MOVING)):
                    remove(made)
            if any(not (folder / name).is_symlink() for name in foreign(folder)):
                aside.mkdir()
                take(folder, aside)
            else:
                os.rename(folder, aside)
    except OSError as error:
        return str(error.strerror or error)
    remove(aside)
    return "" if not aside.exists() else f"could not be removed wholly; the rest is in {aside.parent}"


def take(folder: Path, aside: Path) -> None:
    """The run's own files, and links, out of a folder in which the user has others."""
    others = set(foreign(folder))
    names = [name for name in os.listdir(folder) if name not in others or (folder / name).is_symlink()]
    for name in sorted(names, key=lambda name: (name != OWN[0], name == LIST)):
        os.rename(folder / name, aside / name)


def is_run(folder: Path, outputs: Path) -> bool:
    """A real folder, two below outputs with no link between, that looks as a run's does."""
    if folder.parent.parent != outputs or folder.name in ("", "..") or folder.parent.name in ("", "..", "sweeps"):
        return False
    if folder.is_symlink() or folder.parent.is_symlink() or not folder.is_dir():
        return False
    return bool(DIGEST.search(folder.name)) or (folder / OWN[0]).is_file()


def remove(folder: Path) -> None:
    """A folder and all in it; a link in it goes, what it points to stays. What cannot go stays too."""
    if not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
