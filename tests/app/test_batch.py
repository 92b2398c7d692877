"""hydra/launcher=batch: jobs in one scan, each with the files and numbers that it has alone; the others go alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from calclab.sink.eventfile import event_files

Lab = Callable[[str], Any]


def runs(outputs: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in outputs.rglob("outcome.json")}


def scalar_events(folder: Path) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return sorted(
        (event.step, value.tag, float(value.tensor.float_val[0]))
        for file in event_files(folder)
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tensor.float_val and value.tag != "run/seconds"
    )


@pytest.mark.parametrize(
    ("ask", "jobs"),
    [
        ("function=rosenbrock lr=logspace(1e-5,1e-1,5) steps=120", 5),
        ("function=himmelblau optimizer=momentum optimizer.momentum=0.5,0.9 lr=0.001,0.01 steps=60", 4),
        ("function=booth optimizer=adam 'function.at=[1,1],[2,0]' steps=40", 2),
        ("network=mlp data=iris lr=0.1,0.2 steps=12", 2),
        ("network=mlp network.width=4 data=iris steps=12 seed=0,1,2 evidence=full", 3),
    ],
)
def test_every_run_is_the_one_that_it_is_alone(lab: Lab, tmp_path: Path, ask: str, jobs: int) -> None:
    together = lab(f"-m topic=descent {ask} figures=false hydra/launcher=batch outputs=together")
    assert together.status == 0, together.err
    assert f"batch: {jobs} jobs in" in together.out
    assert lab(f"-m topic=descent {ask} figures=false outputs=alone").status == 0
    found, alone = runs(tmp_path / "together"), runs(tmp_path / "alone")
    assert len(found) == jobs
    assert set(found) == set(alone)
    for name, folder in found.items():
        other = alone[name]
        assert {p.name for p in folder.iterdir() if "tfevents" not in p.name} == {
            p.name for p in other.iterdir() if "tfevents" not in p.name
        }
        for path in folder.glob("*.csv" if "network" not in ask else "[!v]*.csv"):
            left, right = pd.read_csv(path), pd.read_csv(other / path.name)
            if "network" in ask:
                pd.testing.assert_frame_equal(left, right, rtol=1e-9, atol=1e-12)
            else:
                assert path.read_bytes() == (other / path.name).read_bytes(), path
        one, two = (json.loads((place / "outcome.json").read_text()) for place in (folder, other))
        for key in ("status", "steps", "exit", "digest", "notes"):
            assert one[key] == two[key], key
        assert one["evidence"]["counts"] == two["evidence"]["counts"]
        if "network" not in ask:
            assert one["answer"] == two["answer"]
            assert scalar_events(folder) == scalar_events(other)


def test_seeds_that_make_other_rows_go_in_scans_of_their_own(lab: Lab) -> None:
    """Seeds draw the weights alone of a network on a table, and the rows too of made-up data."""
    ask = "-m topic=descent network=mlp network.width=4 steps=3 seed=0,1,2 figures=false hydra/launcher=batch"
    assert "3 jobs in 1 scan" in lab(f"{ask} data=iris hydra.launcher.processes=1").out
    assert "3 jobs in 3 scans" in lab(f"{ask} data=blobs hydra.launcher.processes=1").out


def test_what_cannot_be_batched_runs_alone_and_says_why(lab: Lab, tmp_path: Path) -> None:
    result = lab(
        "-m topic=descent function=booth,sphere optimizer=gd,newton lr=0.1,0.2 steps=5 figures=false "
        "hydra/launcher=batch"
    )
    assert result.status == 0, result.err
    assert "batch: 4 jobs in 2 scans" in result.out or "batch: 4 jobs in 4 scans" in result.out
    assert "4 alone: Newton does not work entry by entry" in result.out
    assert "8 of 8 jobs done, 0 failed" in result.out


def test_again_nothing_is_computed_and_more_is_added(lab: Lab, tmp_path: Path) -> None:
    ask = "-m topic=descent function=booth steps=5 figures=false hydra/launcher=batch"
    assert lab(f"{ask} lr=0.01,0.02").status == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "descent").rglob("scalars.csv")}
    result = lab(f"{ask} lr=0.01,0.02,0.03")
    assert "batch: 1 job in 1 scan\n" in result.out
    assert "3 of 3 jobs done" in result.out
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_job_that_fails_costs_itself_alone(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "own_of_batch.py").write_text(
        "import os, signal\n\ndef good(x):\n    return (x**2).sum()\n\n"
        "def bad(x):\n    raise RuntimeError('out of luck')\n\n"
        "def deadly(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kinds = ",".join(f"own_of_batch.{kind}" for kind in ("good", "bad", "deadly"))
    result = lab(
        f"-m topic=descent function._target_={kinds} 'function.at=[1,2]' lr=0.1,0.2 steps=3 figures=false "
        "hydra/launcher=batch"
    )
    (table,) = (tmp_path / "outputs" / "sweeps").glob("*/sweep.csv")
    rows = pd.read_csv(table)
    assert len(rows) == 6, result.out + result.err
    assert (rows["status"] == "completed").tolist() == rows["overrides"].str.contains("good").tolist()
    assert rows[rows["overrides"].str.contains("deadly")]["error"].str.contains("SIGKILL").all()
    assert result.status != 0


@pytest.mark.parametrize("wrong", ["lr=logspace(0,1,5)", "lr=logspace(1e-3,1)", "lr=linspace(0.1,1,0)"])
def test_spacing_that_makes_no_sense_is_refused(lab: Lab, tmp_path: Path, wrong: str) -> None:
    result = lab(f"-m topic=descent function=booth {wrong}")
    assert result.status == 2
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "outputs" / "descent").exists()
