"""A run that is made in a hidden folder beside its place takes that place when it is whole.

Whoever looks sees the earlier result or the new one, and the user's own files stay where they are. A process may be
killed at any moment: a hidden folder with a finished record is the result, and whoever holds the run next goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from calclab.archive.own import blocked, move_away, own
from calclab.archive.run import read_record

RECORD = "outcome.json"
MOVING = ".moving"  # after the name of a hidden folder whose files are on their way


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
