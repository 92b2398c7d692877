"""The way of the loss as a row of blocks, for a terminal: read from the run's own CSV, as old runs have it too."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calclab.lines import Line, Said

NAME, FILE = "loss", "scalars.csv"
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # blocks, at most
MOST = 2**23  # bytes of a file that is read for it
WIDE = 30  # times the least: from there on the scale is logarithmic


def with_course(said: Iterable[Said], folder: Path) -> Iterator[Said]:
    """What is said, and after the line on the loss its way, where the run has logged one."""
    for entry in said:
        yield entry
        if isinstance(entry, Line) and entry.of == NAME and len(values := course(folder)) > 2:
            yield Line("", sparkline(values))


def course(folder: Path) -> list[float]:
    """The losses that the run in ``folder`` has logged; none where there is no such file, or one too long to read."""
    path = folder / FILE
    try:
        if path.stat().st_size > MOST:
            return []
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            at = next(rows).index(NAME)
            return [float(row[at]) for row in rows if len(row) > at and row[at]]
    except (OSError, ValueError, StopIteration):
        return []


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """A block for each of ``width`` values evenly spaced, the last among them; what is not finite is a cross.

    >>> sparkline([8, 7, 6, 5, 4, 3, 2, 1])
    '█▇▆▅▄▃▂▁'
    >>> sparkline([100, 10, 1, float("nan")])
    '█▅▁× (log scale)'
    """
    count = min(width, len(values))
    shown = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "×" * count
    log = min(finite) > 0 and max(finite) > WIDE * min(finite)
    size = max(map(abs, finite)) or 1.0  # no difference is infinite then
    heights = [math.log(value) if log and math.isfinite(value) else value / size for value in shown]
    low, high = (bound(height for height in heights if math.isfinite(height)) for bound in (min, max))
    reach = (high - low) or 1.0
    text = "".join(
        BLOCKS[min(7, round(7 * ((height - low) / reach)))] if math.isfinite(height) else "×" for height in heights
    )
    return text + " (log scale)" * log
