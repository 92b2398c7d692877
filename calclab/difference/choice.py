"""The runs that words name: folders of runs, of sweeps or of topics, globs, and digests as listings show them."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from calclab.archive.read import OWN, find, folders
from calclab.archive.run import UNREADABLE, Run, read_run
from calclab.archive.sweep import is_sweep, read_sweep
from calclab.errors import UserError
from calclab.text import quoted, shortened

DIGEST = re.compile(r"[0-9a-f]{3,12}")
NEAR = 4  # names that are offered


def choose(words: Sequence[str], outputs: Path) -> list[Run]:
    """The runs in the order in which they are named, each once; UserError for a word that names none."""
    found: dict[str, Run] = {}
    for word in words:
        for folder in named(word, outputs):
            found.setdefault(os.path.realpath(folder), read_run(folder))
    for run in found.values():
        if run.status == UNREADABLE:
            raise UserError(f"{run.folder}: outcome.json cannot be read. The run's own command computes it anew")
    return list(found.values())


def named(word: str, outputs: Path) -> list[Path]:
    """The folders of runs that one word names."""
    if os.path.isdir(word):
        paths = [Path(word)]
    else:
        paths = [Path(path) for path in sorted(glob.glob(word)) if os.path.isdir(path)] if glob.has_magic(word) else []
    runs = [run for path in paths for run in inside(path)]
    if runs:
        return runs
    if paths:
        raise UserError(f"{shortened(quoted(word))} holds no run. Name a run, outputs/<topic>/<run>, or a sweep")
    return by_digest(word, outputs)


def inside(path: Path) -> Iterator[Path]:
    """The folder of a run itself; of a sweep those of its jobs; of a topic or of all outputs those in it."""
    path = path if len(path.parts) > 2 and ".." not in path.parts else Path(os.path.abspath(path))
    if any((path / name).is_file() for name in OWN):
        yield path
    elif is_sweep(path):
        yield from (job.folder for job in read_sweep(path).jobs if job.folder is not None and job.folder.is_dir())
    else:
        here = sorted(Path(entry) for entry in folders(path))
        runs = [folder for folder in here if any((folder / name).is_file() for name in OWN)]
        yield from runs or (run.folder for run in find(path))


def by_digest(word: str, outputs: Path) -> list[Path]:
    """The run whose digest begins so, or ends the name of its folder."""
    if not outputs.is_dir():
        raise UserError(
            f"there is no {shortened(quoted(word))} here, and no folder {outputs} to look for it. "
            "Name folders of runs, or say where they lie: --outputs FOLDER"
        )
    runs = find(outputs)
    digest = word.rpartition("-")[2]
    if DIGEST.fullmatch(digest):
        found = [run.folder for run in runs if (run.digest or "").startswith(digest)]
        if len(found) == 1:
            return found
        if found:
            raise UserError(
                f"{word} begins the digests of {len(found)} runs. Type more of it: "
                + ", ".join(sorted(path.name[-12:] for path in found)[: 2 * NEAR])
            )
    names = {run.folder.name: run.folder for run in runs}
    near = difflib.get_close_matches(word.rstrip("/").rpartition("/")[2], names, n=NEAR, cutoff=0.5)
    meant = " or ".join(quoted(str(names[name])) for name in near)
    hint = f"Did you mean {meant}?" if near else f"Type calclab runs {quoted(str(outputs))} to see which there are"
    raise UserError(f"there is no run {shortened(quoted(word))}. {hint}")
