"""A result written as the command line would have left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from calclab.app import record
from calclab.app.provenance import provenance
from calclab.archive.folder import write_record
from calclab.core import Columns, Outcome, Run
from calclab.errors import UserError
from calclab.report.outcome import json_value


def write(run: Run, outcome: Outcome, columns: Columns, files: Mapping[str, bytes]) -> Path:
    """CSVs, pictures, summary, event file and outcome.json in the run's folder, which must be new or empty."""
    folder = run.folder
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there already and holds something. Give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    config = run.config
    made = provenance((), device=torch.device(config["device"]), dtype=config["dtype"], seed=config["seed"])
    outcome = replace(outcome, provenance={**made, "command": f"calclab.{run.topic}(...)"})
    sinks = record.sinks(run)
    record.log(sinks, run, columns, outcome.evidence)
    for sink in sinks:
        sink.close(outcome)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    identity = {"config": json_value(config)}
    write_record(folder, record.content(run, outcome, identity, record.exit_status(outcome)))
    return folder
