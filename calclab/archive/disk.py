"""What folders take on the disk, counted as ``du`` does: the blocks of files and folders, links not followed."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 512  # of st_blocks, whatever the file system (POSIX)
UNITS = ("B", "kB", "MB", "GB", "TB")


def used(folder: Path | str) -> int:
    """Bytes taken by ``folder``; what cannot be looked into counts nothing."""
    try:
        total = taken(os.lstat(folder))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += used(entry.path)
                else:
                    total += taken(entry.stat(follow_symlinks=False))
    except OSError:
        return 0
    return total


def taken(stat: os.stat_result) -> int:
    blocks = getattr(stat, "st_blocks", None)
    return stat.st_size if blocks is None else blocks * BLOCK


def readable(size: int) -> str:
    """``812 B``, ``35.2 kB``, ``1.4 GB``."""
    number, unit = float(size), 0
    while number >= 999.5 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{size} B" if unit == 0 else f"{number:.3g} {UNITS[unit]}"
