"""What a run's folder keeps of the experiment trackers that were told of it: trackers.json.

The id in each tracker, so that a run that goes on goes on there, too; and whether it has ended there, so that nothing
is told twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from calclab.archive.folder import replace_file

KEPT = "trackers.json"


class Told(NamedTuple):
    """The id of a run in a tracker, empty where it has none or is not known, and whether all of it is there."""

    run: str = ""
    ended: bool = False


def kept(folder: Path) -> dict[str, Told]:
    """What is known of each tracker, by its name; what cannot be read is nothing."""
    try:
        found = json.loads((folder / KEPT).read_bytes())
        return {name: Told(str(held["run"]), bool(held["ended"])) for name, held in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def keep(folder: Path, name: str, told: Told) -> None:
    """Write down what is known of the tracker ``name``."""
    held = {key: value._asdict() for key, value in {**kept(folder), name: told}.items()}
    replace_file(folder / KEPT, json.dumps(held) + "\n")
