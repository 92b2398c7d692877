"""Run a stored configuration again, elsewhere, and compare every number with what was stored.

On the same versions, machine and device the CSVs must be the same bytes. Otherwise they must agree within a tolerance,
and what differs between then and now is named.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calclab.app.place import locate
from calclab.app.secrets import recalled
from calclab.archive.folder import damaged, own
from calclab.errors import UserError
from calclab.text import say, warn

TOLERANCE = 1e-9  # relative, between machines or versions
SETTING = (
    "calclab",
    "git_commit",
    "git_dirty",
    "torch",
    "numpy",
    "scikit_learn",
    "python",
    "device",
    "dtype",
    "threads",
    "ranks",
    "host",
    "platform",
    "files",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 when the numbers are the same, 3 when they are not, 2 for a folder that holds no run."""
    parser = argparse.ArgumentParser(prog="calclab rerun", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of a finished run")
    parser.add_argument("--within", type=float, default=TOLERANCE, help="largest relative difference (%(default)s)")
    options = parser.parse_args(argv)
    try:
        return rerun(options.folder, options.within)
    except UserError as mistake:
        warn(str(mistake), "calclab.rerun")
        return 2


def rerun(folder: Path, within: float) -> int:
    """Run what ``folder`` holds again in a folder of its own and say how the two compare."""
    from calclab.app.build import prepare
    from calclab.app.compute import execute
    from calclab.app.request import Request

    then = stored(folder)
    with tempfile.TemporaryDirectory(prefix="calclab-rerun-") as outputs:
        config = {**recalled(then["config"]), "outputs": outputs, "rerun": False, "figures": False, "sinks": ["csv"]}
        place = replace(locate(config, then["topic"], ()), folder=Path(outputs) / "again")
        job = prepare(Request(config, then["choices"], then["asked"], then["asked"], place))
        now = execute(job, lambda: False)
        changed = settings(then["provenance"], now["provenance"])
        mine = own(folder)
        tables = sorted(path for path in folder.glob("*.csv") if mine(path.name))
        differs = [text for path in tables if (text := compare(path, place.folder / path.name, within))]
        if then["status"] != now["status"]:
            differs.append(f"status: {then['status']} then, {now['status']} now")
        same = all(
            path.read_bytes() == (place.folder / path.name).read_bytes()
            for path in tables
            if (place.folder / path.name).is_file()
        )
    for text in changed:
        say(f"changed   {text}")
    for text in differs:
        say(f"differs   {text}")
    if differs:
        print("the numbers are not the same")
        return 3
    print("the same, bit for bit" if same else f"the same within {within:g}, not bit for bit")
    if not same and not changed:
        print("note      nothing that calclab knows of has changed: look at the machine's load or libraries")
    return 0


def stored(folder: Path) -> dict[str, Any]:
    """The record of a finished run; UserError where there is none."""
    import json

    try:
        text = (folder / "outcome.json").read_bytes()
        record: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: there is no run here that can be read ({error}). Name a folder such as outputs/descent/<run>."
        ) from None
    if damaged(text):
        raise UserError(f"{folder}: outcome.json is damaged. The run's own command computes it anew.")
    if "choices" not in record or record.get("status") in ("running", "interrupted", "failed"):
        raise UserError(
            f"{folder}: this run has not finished (status {record.get('status')}). Its own command goes on with it."
        )
    return record


def settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the machine, the versions and the data is not as it was."""
    return [f"{key}: {then.get(key)} then, {now.get(key)} now" for key in SETTING if then.get(key) != now.get(key)]


def compare(old: Path, new: Path, within: float) -> str:
    """Where two CSVs differ by more than ``within``; "" where they do not."""
    if not new.is_file():
        return f"{old.name}: not written now"
    if old.read_bytes() == new.read_bytes():
        return ""
    before, after = (list(csv.reader(path.open(encoding="utf-8", newline=""))) for path in (old, new))
    if len(before) != len(after):
        return f"{old.name}: {len(before) - 1} rows then, {len(after) - 1} now"
    header = before[0]
    for row, (a, b) in enumerate(zip(before, after, strict=True)):
        for name, x, y in zip(header, a, b, strict=False):
            if (
                x != y
                and not close(x, y, within)
                and not (old.name == "verify.csv" and name not in ("value", "verdict"))
            ):
                return f"{old.name}: {name} in row {row} is {x} then, {y} now"
    return ""


def close(x: str, y: str, within: float) -> bool:
    try:
        return math.isclose(float(x), float(y), rel_tol=within, abs_tol=within * 1e-3) or (
            math.isnan(float(x)) and math.isnan(float(y))
        )
    except ValueError:
        return False
