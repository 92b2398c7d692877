"""The page of a sweep, from its folder and those of its jobs: the best job, a table of what was swept, pictures of the
objective, every job, and how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calclab.archive import ranking
from calclab.archive.run import read_yaml
from calclab.archive.sweep import Sweep
from calclab.report.html.cards import card, thumbnail
from calclab.report.html.document import Table, document
from calclab.report.html.pictures import figures, of_folder
from calclab.report.html.run import sentence
from calclab.text import command

JOBS = 1000  # rows of the table of all jobs
PICTURES = ("sweep", "history", "knob_importance", "parallel_coordinates")  # that a sweep and a search leave
SMALL = 300_000  # bytes of the best job's picture


def sweep_document(sweep: Sweep) -> str:
    """The HTML of a sweep."""
    knobs = " and ".join(sweep.swept) or "one job"
    subjects = sorted({f"{run.topic} of {run.fact('subject')}" for run in sweep.runs.values() if run.fact("subject")})
    files = of_folder(sweep.folder, [{"name": name} for name in PICTURES], lambda name: Path(name).stem in PICTURES)
    pictures, left = figures(dict(files))
    best = card(sweep.runs[sweep.best.number]) if sweep.best and sweep.best.number in sweep.runs else None
    return document(
        "sweep",
        title=f"Sweep of {knobs}",
        subjects=subjects[:3],
        question=f"Which choice of {knobs} does best, by the {ranking.measured(sweep)} of {len(sweep.jobs)} jobs?",
        sentences=[sentence(text) for text in answers(sweep)],
        ranked=table(ranking.table(sweep)),
        every=table(ranking.table(sweep, JOBS)) if len(sweep.jobs) > ranking.EVERY else None,
        errors=list(ranking.errors(sweep)),
        pictures=pictures,
        left=left,
        best=(best, thumbnail(best, SMALL)) if best else None,
        commands=list(commands(sweep)),
    )


def answers(sweep: Sweep) -> Iterator[str]:
    """The best job of every question, and what became of the others."""
    for heading, text in ranking.sentences(sweep):
        yield f"{heading} is {text}" if heading else text
    found = Counter("diverged" if job.lost else job.status for job in sweep.jobs)
    yield f"of {len(sweep.jobs)} jobs {', '.join(f'{count} {word}' for word, count in found.most_common())}"


def table(found: ranking.Table) -> Table:
    """A ranking as a table of the page; what is said of jobs that are not shown goes across all columns."""
    return Table(found.head, [row.cells or row.words for row in found.rows])


def commands(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """What to type, and what for."""
    hydra: Any = read_yaml(sweep.folder / "multirun.yaml").get("hydra")
    for part in ("overrides", "task"):
        hydra = hydra.get(part) if isinstance(hydra, Mapping) else None
    if isinstance(hydra, list):
        words = ["python", "-m", "calclab", "-m", *map(str, hydra)]
        yield "The sweep, which goes on with what is missing", command(words)
    yield "Its table", str(sweep.folder / "sweep.csv")
    yield "Its curves", command(["tensorboard", "--logdir", str(outputs(sweep.folder))])


def outputs(folder: Path) -> Path:
    """The folder of outputs that a sweep lies in."""
    return folder.parent.parent
