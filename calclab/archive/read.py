"""The runs of outputs/, and ``calclab.load``: a frame of all runs, or one run with its frames.

runs = calclab.load("outputs")                    # one row a run
best = runs[runs.topic == "descent"].nsmallest(1, "loss")
run = calclab.load(best.folder.iloc[0])
run.scalars.loss.plot(logy=True)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.folder import foreign, read_record
from calclab.archive.run import DIGEST, FACTS, Run, read_run
from calclab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

ASIDE = ("sweeps",)  # folders of outputs/ that hold no runs
OWN = ("outcome.json", "scalars.csv", "verify.csv")  # any of these tells a run's folder


def load(folder: str | os.PathLike[str] = "outputs") -> pd.DataFrame | Run:
    """All runs of an outputs folder as a frame (see `frame`), or the run of one folder, outputs/<topic>/<run>."""
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}. Give an outputs folder, or a run in it: outputs/<topic>/<run>.")
    if any((path / name).is_file() for name in OWN):
        return read_run(path if len(path.parts) > 2 and ".." not in path.parts else Path(os.path.abspath(path)))
    runs = find(path)
    if not runs and not (path / ".locks").is_dir():
        raise UserError(
            f"{path} is neither a run nor an outputs folder with runs in it. Give outputs, or outputs/<topic>/<run>."
        )
    return frame(runs)


def find(outputs: str | os.PathLike[str]) -> list[Run]:
    """The runs of outputs/<topic>/<run>/, by folder. Links are not followed; folders that are no runs are left out."""
    if not os.path.isdir(outputs):
        raise UserError(f"there is no folder {outputs}. Say where the runs lie: calclab runs FOLDER")
    return sorted(scan(Path(outputs)), key=lambda run: (run.topic, run.folder.name))


def scan(outputs: Path) -> Iterator[Run]:
    for topic in folders(outputs):
        if topic.name in ASIDE:
            continue
        for entry in folders(topic):
            folder = Path(entry)
            record = read_record(folder)
            if record is not None or (folder / OWN[0]).is_file() or (DIGEST.search(entry.name) and begun(folder)):
                yield Run(folder, record)


def begun(folder: Path) -> bool:
    """Whether anything of a run is there, or nothing at all; a run that was removed may leave files of the user's."""
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    return not names or len(foreign(folder)) < len(names)


def folders(parent: os.PathLike[str]) -> list[os.DirEntry[str]]:
    """The folders in ``parent`` that are neither links nor hidden; none where it cannot be looked into."""
    try:
        with os.scandir(parent) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its facts, its values, its knobs (lists as JSON); times are in UTC.

    A knob that is called like a fact or a value has the column ``knob.<name>``, a value called like a fact
    ``value.<name>``. The size on the disk is left out: it takes a look at every file (``Run.size``).
    """
    import pandas as pd

    made = pd.DataFrame(columns(runs))
    made["started"] = pd.to_datetime(made["started"], utc=True, errors="coerce", format="ISO8601")
    return made


def columns(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The columns of `frame`, plain."""
    named: dict[str, list[Any]] = {name: [run.fact(name) for run in runs] for name in FACTS if name != "size"}
    values, knobs = known(runs)
    for name in values:
        named[f"value.{name}" if name in FACTS else name] = [run.values.get(name) for run in runs]
    for name in knobs:
        clash = name in FACTS or name in values
        named[f"knob.{name}" if clash else name] = [cell(run.knobs.get(name)) for run in runs]
    return named


def known(runs: Sequence[Run]) -> tuple[dict[str, None], dict[str, None]]:
    """The names of all values and of all knobs, in order of appearance."""
    values = dict.fromkeys(name for run in runs for name in run.values)
    return values, dict.fromkeys(name for run in runs for name in run.knobs)


def cell(value: object) -> object:
    """A list as JSON: text can be compared and grouped by."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value
