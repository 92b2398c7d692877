"""Runs read back: found in outputs/, listed, loaded as frames, thrown away.

Everything here works from the files of the runs alone, with nothing rerun: outcome.json for the list, the CSVs when
asked for. Neither torch nor pandas is imported before a frame is wanted, so that a list comes at once.
"""

from calclab.archive.read import find, frame, load
from calclab.archive.run import Run

__all__ = ["Run", "find", "frame", "load"]
