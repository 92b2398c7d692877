"""A sweep in TensorBoard: an event file in its own folder, with the best job, the table, the picture and how the best
came down. No torch here: who shares out jobs computes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calclab.archive import ranking
from calclab.archive.sweep import Sweep
from calclab.report.markdown import code, escape, table
from calclab.sink.eventfile import EventFile, event_files
from calclab.text import command, warn

ROWS = 200  # of the table
READING = """## How to read this

- **sweep/objective** has what each job came to, in the order of their numbers, and **sweep/best_so_far** the best up to
there: level for long, more jobs of this kind bring little.
- The picture has the objective over each knob that was swept; a mark at the edge asks for a wider range.
- The jobs themselves, with their curves and in HPARAMS: {line}
"""


def write(sweep: Sweep, pictures: Sequence[Path]) -> Path | None:
    """The event file of a sweep of several jobs, made anew; what cannot be written is a warning."""
    if len(sweep.jobs) < 2:
        return None
    try:
        for stale in event_files(sweep.folder):
            stale.unlink()
        file = EventFile(sweep.folder)
        try:
            fill(file, sweep, pictures)
        finally:
            file.close()
        return file.path
    except Exception as error:
        warn(f"the sweep could not be shown in TensorBoard: {type(error).__name__}: {error}")
        return None


def fill(file: EventFile, sweep: Sweep, pictures: Sequence[Path]) -> None:
    last = max(job.number for job in sweep.jobs)
    file.text("overview", page(sweep), last)
    for number, path in enumerate(pictures, 1):
        if path.suffix == ".png":
            file.image(f"pictures/{number} {path.stem}", path.read_bytes(), last)
    done = [job for job in sweep.jobs if job.done]
    if done and len(sweep.parts) == 1:  # objectives of different questions do not compare
        better = max if sweep.direction == "maximize" else min
        objectives = [job.objective or 0.0 for job in done]
        values = np.array([objectives, [*itertools.accumulate(objectives, better)]], dtype=np.float32).T
        file.scalars([job.number for job in done], ["sweep/objective", "sweep/best_so_far"], values)


def page(sweep: Sweep) -> str:
    """The sweep as a page of Markdown."""
    told = [f"**{escape(f'{heading}: {text}')}**" for heading, text in ranking.sentences(sweep)]
    made = ranking.table(sweep)
    rows = [[*map(escape, row.cells)] if row.cells else [escape(row.words)] for row in made.rows[:ROWS]]
    parts = [f"# {len(sweep.jobs)} jobs over {escape(', '.join(sweep.swept))}", *told]
    parts.append(table([*map(escape, made.head)], [row + [""] * (len(made.head) - len(row)) for row in rows]))
    parts.append(READING.format(line=code(command(["python", "-m", "calclab", "board", str(sweep.folder)]))))
    return "\n\n".join(parts)
