"""One front door: each command beside runs and sweeps is found under ``calclab``, in --help and by Tab."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import calclab
from calclab.app.commands import COMMANDS


@pytest.fixture
def run(lab, tmp_path: Path) -> Path:
    assert lab("lr=0.05 steps=3 figures=false").status == 0
    (folder,) = (tmp_path / "outputs" / "descent").iterdir()
    return folder.relative_to(tmp_path)


def test_the_help_page_has_every_command(lab) -> None:
    out = lab("--help").out
    for name, command in COMMANDS.items():
        assert f"  calclab {name} " in out or f"  calclab {name}\n" in out
        assert command.purpose in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_of_itself(lab, name: str) -> None:
    for line in (f"{name} --help", f"help {name}"):
        with contextlib.suppress(SystemExit):  # argparse's
            assert lab(line).status == 0


def test_the_old_way_and_the_door_list_the_same(lab, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from calclab.runs import main

    told = lab("runs --format json")
    assert main(["--format", "json"]) == 0
    assert told.out == capsys.readouterr().out
    assert [row["folder"] for row in json.loads(told.out)] == [str(run)]


def test_rerun_through_the_door_compares(lab, run: Path) -> None:
    result = lab(f"rerun {run}")
    assert result.status == 0
    assert "the same, bit for bit" in result.out


def test_load_prints_what_python_has(lab, run: Path) -> None:
    held = calclab.load(run)
    assert isinstance(held, calclab.archive.run.Run)
    overview = lab(f"load {run}").out
    for name in (*held.values, "scalars", "verify"):
        assert name in overview
    assert float(lab(f"load {run} loss").out) == held.values["loss"]
    assert lab(f"load {run} scalars").out == (run / "scalars.csv").read_text()
    assert lab(f"load {run} lr").out.strip() == "0.05"


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("load nowhere", "no run here"),
        ("load outputs", "calclab runs outputs"),
        ("load {run} los", "loss"),
        ("rerun nowhere", "no run here"),
        ("runs nowhere", "no folder"),
        ("version x", "Type calclab version"),
    ],
)
def test_a_mistake_in_a_command_is_told(lab, run: Path, line: str, phrase: str) -> None:
    result = lab(line.format(run=run))
    assert result.status == 2
    assert phrase in result.err
    assert len(result.err.splitlines()) == 1


def test_version(lab) -> None:
    assert lab("version").out == lab("--version").out
    assert lab("version").out.startswith(f"calclab {calclab.__version__}\n")


def test_a_command_imports_only_its_own_module() -> None:
    code = (
        "import sys; from calclab.app import main; main(['version'])\n"
        "print(*(m for m in ('torch', 'hydra', 'calclab.runs', 'calclab.app.rerun') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
