"""Which files in a run's folder are the lab's own. All others are the user's: never removed, never written over.

``.files`` names them, one a line, each before it is made: ``x.csv``; ``H.#.csv`` for every step. Runs of versions that
kept no such list are told by the kind of file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

LIST = ".files"
LEAVING = ".left"  # a folder in which a topic leaves files, before they are named
ALWAYS = (LIST, "outcome.json", "summary.md", "scalars.csv", "verify.csv", "checkpoint.pt", "error.log")
EVENTS = r"events\.out\.tfevents\..+\.calclab"  # of TensorBoard; a user may write others
KINDS = r".+\.(csv|parquet|png)|events\.out\.tfevents\..+|weights\.pt"  # of a run without a list
HALF = re.compile(r"\.(?P<hidden>.+?)(\.next|\.past)?|(?P<shown>.+)\.part")  # a file while it is written


def own(folder: Path) -> Callable[[str], bool]:
    """Whether a name in ``folder`` is one of the lab's own files, or of half of one."""
    named = listed(folder)
    if named is None:
        kinds = [KINDS] if any((folder / name).is_file() for name in ALWAYS) else []
    else:
        kinds = [pattern(name) for name in named]
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
