"""Sweeps: every job has its folder and its row; a diverging job is a result, a failing one stops no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd


def table(tmp_path: Path) -> pd.DataFrame:
    (path,) = (tmp_path / "outputs" / "sweeps").glob("*/sweep.csv")
    return pd.read_csv(path)


def test_values_and_groups_are_combined(lab, tmp_path: Path) -> None:
    result = lab("-m topic=descent function=sphere,booth optimizer=gd,adam lr=0.01,0.02 steps=5 figures=false")
    assert result.status == 0, result.err
    rows = table(tmp_path)
    assert len(rows) == 8
    assert rows["folder"].nunique() == 8
    assert all(Path(tmp_path / folder / "scalars.csv").exists() for folder in rows["folder"])
    assert set(rows["status"]) == {"completed"}
    assert "8 of 8 jobs done" in result.out


def test_a_diverging_job_is_a_result(lab, tmp_path: Path) -> None:
    result = lab("-m topic=descent function=sphere lr=0.1,3 steps=500 figures=false")
    assert result.status == 0, result.err
    assert table(tmp_path)["status"].tolist() == ["converged", "diverged"]


def test_a_loss_that_left_the_numbers_is_no_other_number_of_the_answer(lab, tmp_path: Path) -> None:
    """The objective is the loss, infinite as it is, and not the first number that is finite."""
    lab("-m topic=descent function.expr=exp(x**2) function.at=[1.5] lr=0.01,10 steps=5 figures=false")
    rows = table(tmp_path)
    assert rows["status"].tolist() == ["completed", "nonfinite"]
    assert rows["objective"].tolist()[1] == float("inf")


def test_the_end_says_the_best_job_and_what_was_swept(lab) -> None:
    result = lab("-m topic=descent function=sphere lr=0.1,0.4,3 steps=20 tol=0 figures=false")
    lines = result.out.splitlines()
    assert lines[0].startswith("best      lr=0.4: loss ")
    assert lines[1].split() == ["job", "lr", "loss", "steps", "status"]
    assert [line.split()[1] for line in lines[2:5]] == ["0.4", "0.1", "3"]
    assert lines[4].endswith("diverged")
    (picture,) = (line.split()[1] for line in lines if line.startswith("picture"))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    (again,) = (line for line in lines if line.startswith("again"))
    assert again.endswith("python -m calclab topic=descent function=sphere lr=0.4 steps=20 tol=0 figures=False")


def test_a_failing_job_is_told_and_the_others_finish(lab, tmp_path: Path) -> None:
    (tmp_path / "own_functions_here.py").write_text(
        "def good(x):\n    return (x**2).sum()\ndef bad(x):\n    raise RuntimeError('out of luck')\n"
    )
    target = "function._target_=own_functions_here.bad,own_functions_here.good"
    result = lab(f"-m topic=descent {target} function.at=[1,2] lr=0.1 steps=3 figures=false")
    assert result.status == 2
    rows = table(tmp_path)
    assert rows["status"].tolist() == ["failed", "completed"]
    assert "out of luck" in rows["error"][0]
    assert "out of luck" in result.out
    assert "1 failed" in result.out


def test_formulas_can_be_swept(lab, tmp_path: Path) -> None:
    result = lab("""-m topic=derivative "function.expr='x**2','sin(x), y'" function.at=[1] figures=false""")
    rows = table(tmp_path)
    assert len(rows) == 2
    assert rows["status"].tolist() == ["completed", "failed"]
    assert result.status == 2


def test_whoever_has_used_hydra_before_can_still_sweep(tmp_path: Path) -> None:
    """Hydra looks for plugins once: the lab's are found after that too."""
    code = (
        "from hydra.core.plugins import Plugins; Plugins.instance()\n"
        "from calclab.app import main; import sys\n"
        "sys.argv = ['calclab']; sys.exit(main('-m topic=derivative steps=3,4 figures=false'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs done, 0 failed" in done.stdout
