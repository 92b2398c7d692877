"""A result written as the command line would have left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from calclab.app.output import make_sinks
from calclab.app.provenance import provenance
from calclab.app.status import exit_status
from calclab.archive.seal import sealed
from calclab.core import Columns, Outcome, Run
from calclab.errors import UserError
from calclab.report.outcome import outcome_dict, plain, write_record
from calclab.report.terminal import lines


def write(run: Run, outcome: Outcome, columns: Columns, files: Mapping[str, bytes]) -> Path:
    """CSVs, pictures, summary, event file and outcome.json in the run's folder, which must be new or empty."""
    folder = run.folder
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there already and holds something. Give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    dtype = next((str(c.data.dtype).removeprefix("torch.") for c in columns.values()), "float64")
    made = provenance((), device=torch.device("cpu"), dtype=dtype, seed=run.config["seed"])
    outcome = replace(outcome, provenance={**made, "command": f"calclab.{run.topic}(...)"})
    sinks = make_sinks(run, progress=False)
    for sink in sinks:
        sink.open(run)
        sink.write(columns)
        sink.evidence(outcome.evidence)
    for sink in sinks:
        sink.close(outcome)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    record = outcome_dict(run, outcome) | {"config": plain(run.config), "exit": exit_status(outcome)}
    write_record(folder, {**record, "lines": list(lines(run, outcome))}, sealed)
    return folder
