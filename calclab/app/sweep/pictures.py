"""The picture of a sweep, sweep.png in its folder. No torch here: who shares out jobs computes nothing."""

from __future__ import annotations

from pathlib import Path

from calclab.archive.folder import replace_file
from calclab.archive.sweep import REPEATS, Sweep
from calclab.figure.records import SweepPanel
from calclab.text import warn

NAME = "sweep.png"
SEARCHED = ("history", "knob_importance", "parallel_coordinates")  # of Optuna's own


def pictures(sweep: Sweep) -> list[Path]:
    """Draw what there is to see, and list it with what a search has drawn; what cannot be drawn must not take the table
    with it, and is a warning."""
    drawn = []
    try:
        if panel := record(sweep):
            drawn.append(write(sweep.folder / NAME, panel))
    except Exception as error:
        warn(f"{NAME} could not be drawn: {type(error).__name__}: {error}")
    searched = [sweep.folder / f"{name}.png" for name in SEARCHED] if sweep.search is not None else []
    return drawn + [path for path in searched if path.is_file()]


def write(path: Path, panel: SweepPanel) -> Path:
    from calclab.figure.draw.canvas import png
    from calclab.figure.draw.sweep import draw_sweep

    return replace_file(path, png(draw_sweep(panel)))


def record(sweep: Sweep) -> SweepPanel | None:
    """What is to be seen in it; None where no two results of one question are there to be compared."""
    from calclab.figure.record.sweep import Trials
    from calclab.figure.record.sweep import sweep as record_of

    if all(sum(job.done or job.lost for job in part.jobs) < 2 for part in sweep.parts) or not sweep.comparable:
        return None
    index = {job.number: i for i, job in enumerate(sweep.jobs)}
    settings = {job.number: k for k, setting in enumerate(sweep.settings) for job in setting.jobs}
    trials = Trials(
        {name: sweep.column(name) for name in sweep.swept},
        [job.objective if job.done else None for job in sweep.jobs],
        [job.lost for job in sweep.jobs],
        [settings.get(job.number, -1 - job.number) for job in sweep.jobs],
        sweep.limits,
        repeats=REPEATS,
        apart=frozenset(sweep.asked),
        maximize=sweep.direction == "maximize",
    )
    best = sweep.best if sweep.judged and len(sweep.parts) == 1 else None
    measure = sweep.measure.replace("_", " ")
    titles = {str(run.outcome.get("title")) for run in sweep.runs.values()}
    title = f"{titles.pop() if len(titles) == 1 else 'sweep'}: {measure} of {len(sweep.jobs)} jobs"
    return record_of(trials, measure, None if best is None else index[best.number], title)
