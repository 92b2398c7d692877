"""A run's folder: its record, which of its files are the lab's own, and how one result takes another's place.

All files but the lab's own are the user's: never removed, never written over. ``.files`` names the lab's, one a line,
each before it is made: ``x.csv``; ``H.#.csv`` for every step. Runs of versions that kept no such list are told by the
kind of file.

The record is outcome.json; its last entry is the CRC-32 of all that stands before.

A run that is made in a hidden folder beside its place takes that place when it is whole. Whoever looks sees the earlier
result or the new one. A process may be killed at any moment: a hidden folder with a finished record is the result, and
whoever holds the run next goes on.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from calclab.text import warn

RECORD = "outcome.json"
SEAL = re.compile(rb',\n  "crc32": "([0-9a-f]{8})"\n\}\n\Z')
LIST = ".files"
LEAVING = ".left"  # a folder in which a topic leaves files, before they are named
ALWAYS = (
    LIST, RECORD, "summary.md", "scalars.csv", "verify.csv", "trackers.json", "checkpoint.pt", "checkpoint.rows",
    "checkpoint.rows2", "error.log",
)  # fmt: skip
SWEEP = (  # the files of a sweep's folder
    "sweep.csv", "sweep.png", "history.png", "knob_importance.png", "parallel_coordinates.png", "optuna.json",
    "multirun.yaml", "report.html", ".swept",
)  # fmt: skip
EVENTS = r"events\.out\.tfevents\..+\.calclab"  # of TensorBoard; a user may write others
KINDS = r".+\.(csv|parquet|png|svg|pdf)|events\.out\.tfevents\..+|weights\.pt"  # of a run without a list
HALF = re.compile(r"\.(?P<hidden>.+?)(\.next|\.past)?|(?P<shown>.+)\.part")  # a file while it is written
MOVING = ".moving"  # after the name of a hidden folder whose files are on their way


# --- the record ---


def read_record(folder: Path) -> dict[str, Any] | None:
    """What outcome.json holds; None where there is none, or none that can be read and is as it was written."""
    try:
        with open(folder / RECORD, "rb") as file:
            text = file.read()
        record = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and not damaged(text) else None


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write outcome.json into ``folder``, sealed; a reader sees the whole file or none."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return replace_file(folder / RECORD, sealed(orjson.dumps(record, option=options)).decode())


def replace_file(path: Path, content: str | bytes) -> Path:
    """Write ``content`` beside ``path`` and move it there in one step; whoever writes holds the run."""
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def sealed(text: bytes) -> bytes:
    """Indented JSON of an object, with its seal."""
    body = text.removesuffix(b"\n}\n")
    return body + b',\n  "crc32": "%08x"\n}\n' % zlib.crc32(body)


def damaged(text: bytes) -> bool:
    """Whether the text is not what was sealed. One without a seal, of an earlier version or by hand, is believed."""
    found = SEAL.search(text, max(0, len(text) - 40))
    return found is not None and zlib.crc32(text[: found.start()]) != int(found[1], 16)


# --- whose files ---


def own(folder: Path) -> Callable[[str], bool]:
    """Whether a name in ``folder`` is one of the lab's own files, or of half of one."""
    named = listed(folder)
    if named is not None:
        kinds = [pattern(name) for name in named]
    elif (folder / SWEEP[0]).is_file():
        kinds = [pattern(name) for name in SWEEP]
    else:
        kinds = [KINDS] if any((folder / name).is_file() for name in ALWAYS) else []
    whole = re.compile("|".join([*map(pattern, ALWAYS), EVENTS, *kinds]))

    def mine(name: str) -> bool:
        half = HALF.fullmatch(name)
        return bool(whole.fullmatch(name) or (half and whole.fullmatch(half["hidden"] or half["shown"])))

    return mine


def foreign(folder: Path) -> list[str]:
    """The names in ``folder`` that are the user's."""
    mine = own(folder)
    return sorted(name for name in os.listdir(folder) if name != LEAVING and not mine(name))


def listed(folder: Path) -> list[str] | None:
    """The names on the list; None where there is none."""
    try:
        return [line for line in (folder / LIST).read_text(encoding="utf-8", errors="replace").split("\n") if line]
    except OSError:
        return None


def add(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Put names on the list, before the files are made. What has such a name by then makes way: it is the user's.

    Returns what has been moved, and how it is called now.
    """
    matches = re.compile("|".join(map(pattern, names)))
    there = [name for name in os.listdir(folder) if matches.fullmatch(name)] if names else []
    moved = [(name, move_away(folder / name).name) for name in there]
    put(folder, names)
    return moved


def put(folder: Path, names: Sequence[str]) -> None:
    """Put names on the list, which is made at need, of files that are there or to come."""
    with open(folder / LIST, "ab", buffering=0) as file:
        file.write(("\n" + "".join(f"{name}\n" for name in names)).encode())  # the first ends a line that was cut off


def blocked(folder: Path) -> list[tuple[str, str]]:
    """Folders, and whatever else is no file, make way where they have a name of the lab's own files."""
    mine = own(folder)
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if not entry.is_file() and mine(entry.name)]
    return [(name, move_away(folder / name).name) for name in found]


def move_away(path: Path) -> Path:
    """Give what lies at ``path`` the first free name beside it."""
    number = 1
    while os.path.lexists(other := path.with_name(f"kept{number}.{path.name}")):
        number += 1
    os.rename(path, other)
    return other


def pattern(name: str) -> str:
    return re.escape(name).replace(r"\#", r"\d+")


class Ledger:
    """The list of a folder's own files while a run is written: each name is put on it before the file is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()

    def open(self) -> None:
        """Go on with the list that there is, or begin one."""
        known = listed(self._folder)
        self._known.update(known or ())
        if known is None:
            put(self._folder, ())

    def name(self, names: Iterable[str]) -> None:
        """Put on the list what is not there yet."""
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        if new:
            say_moved(self._folder, add(self._folder, new))
            self._known.update(new)

    def write(self, files: Callable[[Path], None]) -> None:
        """Files whose names are known when they are made: what ``files`` writes into the folder that it is given."""
        aside = self._folder / LEAVING
        aside.mkdir(exist_ok=True)
        files(aside)
        left = sorted(os.listdir(aside))
        self.name(left)
        for name in left:
            os.replace(aside / name, self._folder / name)
        aside.rmdir()


def say_moved(folder: Path, moved: Iterable[tuple[str, str]]) -> None:
    """Say what has made way for the run's own files."""
    for name, other in moved:
        warn(f"{folder / name} is not of this run, and is now called {other}")


# --- a result that takes its place ---


def hidden(folder: Path, digest: str) -> Path:
    """The hidden folder of a run that has its place at ``folder``."""
    return folder.with_name(f".{digest}")


def pending(made: Path, finished: Sequence[str]) -> bool:
    """Whether a whole run waits in a hidden folder."""
    if os.path.isdir(f"{made}{MOVING}"):
        return True
    return made.is_dir() and (read_record(made) or {}).get("status") in finished


def settle(made: Path, folder: Path, finished: Sequence[str]) -> bool:
    """Show what waits; whether there was anything. The caller holds the run."""
    if not pending(made, finished):
        return False
    if os.path.isdir(f"{made}{MOVING}"):
        move(Path(f"{made}{MOVING}"), folder)
    else:
        show(made, folder)
    return True


def show(made: Path, folder: Path) -> None:
    """Give a hidden folder its name; where that is taken, its files take the places of those of the earlier run."""
    try:
        os.rename(made, folder)
    except OSError:  # there is an earlier attempt, or there are files of the user's
        mine, new = own(folder), set(os.listdir(made))
        blocked(folder)
        for name in os.listdir(folder):
            if mine(name) and name not in new:
                (folder / name).unlink()
            elif name in new and not mine(name):
                move_away(folder / name)
        moving = Path(f"{made}{MOVING}")
        os.rename(made, moving)
        move(moving, folder)


def move(moving: Path, folder: Path) -> None:
    """The files of a hidden folder into another, the record last."""
    for name in sorted(os.listdir(moving), key=lambda name: name == RECORD):
        os.replace(moving / name, folder / name)
    moving.rmdir()
