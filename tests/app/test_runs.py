"""Whole runs: every topic by its name alone, every study, and what they leave behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from calclab.schema import catalogue

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_a_topic_by_its_name_alone(lab, topic: str, tmp_path: Path) -> None:
    result = lab(f"topic={topic}")
    assert result.status == 0, result.err + result.out
    (folder,) = (tmp_path / "outputs" / topic).iterdir()
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    assert outcome["status"] in ("completed", "converged")
    assert outcome["evidence"]["verdict"] in ("certified", "consistent", "inconclusive")
    assert outcome["provenance"]["command"] == f"python -m calclab topic={topic}"
    for path in folder.glob("*.csv"):
        assert len(pd.read_csv(path)) > 0
    assert list(folder.glob("*.png"))
    assert list(folder.glob("events.out.tfevents.*"))
    (said,) = (line.removeprefix("answer").strip() for line in result.out.splitlines() if line.startswith("answer"))
    assert said == outcome["answer"]["headline"]


LONG = (  # a minute or so
    "published/edge_of_stability",
    "published/heavy_ball/gradient_descent_10000",
    "published/central_flow/network",
)
STUDIES = [pytest.param(n, marks=pytest.mark.minutes) if n in LONG else n for n in catalogue.options("experiment")]


@pytest.mark.parametrize("study", STUDIES)
def test_every_claim_of_a_study_holds(lab, study: str, tmp_path: Path) -> None:
    result = lab(f"experiment={study} figures=false")
    assert result.status == 0, result.out + result.err
    (path,) = (tmp_path / "outputs").rglob("outcome.json")
    claims = json.loads(path.read_text(encoding="utf-8"))["claims"]
    assert claims
    assert all(claim["holds"] for claim in claims)


def test_a_claim_that_does_not_hold_is_loud(lab) -> None:
    result = lab("experiment=notebook/01_cubic function.at=[3] figures=false")
    assert result.status == 3
    assert "DOES NOT HOLD" in result.out


def test_a_folder_of_studies_of_ones_own(lab, tmp_path: Path) -> None:
    (tmp_path / "experiments" / "mine").mkdir(parents=True)
    study = "# @package _global_\ndefaults:\n  - override /topic: hessian\n  - override /function: booth\n"
    study += "claims:\n  - {quantity: condition, equals: 9}\n"
    (tmp_path / "experiments" / "mine" / "booth.yaml").write_text(study)
    result = lab("experiment=mine/booth figures=false")
    assert result.status == 0, result.err
    assert "1 of 1 hold" in result.out


def test_the_formula_is_what_the_shell_passed(lab, tmp_path: Path) -> None:
    assert lab("topic=jacobian 'function.expr=x0**2+x1, x0*x1' function.at=[1,2] figures=false").status == 0
    (path,) = (tmp_path / "outputs").rglob("jacobian*.csv")
    assert pd.read_csv(path, index_col=0).to_numpy().tolist() == [[2, 1], [2, 1]]


def test_a_callable_and_a_network_of_ones_own(lab, tmp_path: Path) -> None:
    code = "import torch\ndef f(x):\n    return (x**4).sum()\n"
    code += "class Net(torch.nn.Module):\n    def __init__(self, width=3):\n        super().__init__()\n"
    code += "        self.a = torch.nn.Linear(4, width)\n        self.b = torch.nn.Linear(width, 3)\n"
    code += "    def forward(self, x):\n        return self.b(torch.tanh(self.a(x)))\n"
    (tmp_path / "own_module_of_mine.py").write_text(code)
    result = lab("topic=hessian function._target_=own_module_of_mine.f function.at=[1,2] figures=false")
    assert result.status == 0, result.err
    assert "48" in result.out
    result = lab("topic=partial network._target_=own_module_of_mine.Net network.width=5 data=iris figures=false")
    assert result.status == 0, result.err
    assert "a.weight (5, 4)" in result.out


def test_network_on_a_table_of_ones_own(lab, tmp_path: Path) -> None:
    rows = "size,city,price\n" + "".join(f"{i % 7 + 1},{'ab'[i % 2]},{3 * (i % 7) + (i % 2)}.5\n" for i in range(40))
    (tmp_path / "houses.csv").write_text(rows)
    line = "topic=importance network=linear data=table data.path=houses.csv data.target=price data.standardize=true"
    result = lab(f"{line} figures=false")
    assert result.status == 0, result.err + result.out
    assert "size matters most" in result.out


def test_the_same_command_finds_the_same_run(lab, tmp_path: Path) -> None:
    first = lab("topic=derivative figures=false")
    (path,) = (tmp_path / "outputs" / "derivative").glob("*/outcome.json")
    written = path.stat().st_mtime_ns
    second = lab("topic=derivative figures=false")
    assert (first.status, second.status) == (0, 0)
    one, two = first.out.splitlines(), second.out.splitlines()
    assert [line for line in two if line in one] == one
    assert len(two) == len(one) + 1
    assert "finished before" in second.out
    assert path.stat().st_mtime_ns == written
    assert lab("topic=derivative figures=false rerun=true").status == 0
    assert path.stat().st_mtime_ns > written
    assert len(list((tmp_path / "outputs" / "derivative").iterdir())) == 1
    assert lab("topic=derivative figures=false seed=1").status == 0
    assert len(list((tmp_path / "outputs" / "derivative").iterdir())) == 2


def test_another_table_is_another_run(lab, tmp_path: Path) -> None:
    line = "topic=partial network=linear data=table data.path=t.csv data.target=y figures=false"
    for last in (5, 6):
        (tmp_path / "t.csv").write_text(f"x,y\n1,2\n2,4\n3,{last}\n")
        assert lab(line).status == 0
    assert len(list((tmp_path / "outputs" / "partial").iterdir())) == 2


def test_processes_started_at_once_never_share_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "calclab", "topic=derivative", "figures=false", "steps=3"]
    same = [[*command, "seed=7"] for _ in range(3)]
    runs = [
        subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in [*same, [*command, "seed=1"], [*command, "seed=2"]]
    ]
    ends = [(run.communicate(timeout=120)[1], run.returncode) for run in runs]
    assert 0 in [status for _, status in ends[:3]]
    assert all(status == 0 or (status == 2 and "is being computed by" in error) for error, status in ends[:3])
    assert [status for _, status in ends[3:]] == [0, 0]
    outcomes = list((tmp_path / "outputs" / "derivative").glob("*/outcome.json"))
    assert len(outcomes) == 3
    assert all(json.loads(path.read_text())["status"] == "completed" for path in outcomes)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_keeps_its_rows(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "calclab", "topic=descent", "steps=100000000", "tol=0", "figures=false"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ)
    for _ in range(600):
        if any(path.stat().st_size > 10_000 for path in (tmp_path / "outputs").rglob("scalars.csv")):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the run has not begun")
    run.send_signal(number)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == status
    assert "interrupted" in out
    (path,) = (tmp_path / "outputs").rglob("outcome.json")
    outcome = json.loads(path.read_text(encoding="utf-8"))
    assert outcome["status"] == "interrupted"
    assert len(pd.read_csv(path.with_name("scalars.csv"))) == outcome["steps"] + 1


def test_what_was_imported_is_no_longer_looked_through_for_garbage_but_what_runs_leave_is(lab) -> None:
    """Once in a process: a second run keeps nothing of the first."""
    gc.unfreeze()
    try:
        assert lab("topic=derivative figures=false").status == 0
        kept = gc.get_freeze_count()
        assert gc.isenabled()
        assert kept > 10_000  # torch alone
        assert lab("topic=derivative figures=false function.at=[2]").status == 0
        assert gc.isenabled()
        assert gc.get_freeze_count() <= kept
    finally:
        gc.unfreeze()
