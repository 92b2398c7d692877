"""python -m calclab.runs: filters, order, formats, and what it says to a mistake."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calclab.archive import disk
from calclab.runs import main


@pytest.fixture
def three(outputs: Path, make: Any) -> Path:
    """lr 0.1, 0.01, none (another topic), begun in that order."""
    make(number=1, lr=0.1, loss=3.0, status="diverged", started="2026-11-01T08:00:00+00:00")
    make(number=2, lr=0.01, loss="nan", started="2026-11-05T08:00:00+00:00", config={"deep": {"flag": True}})
    make("hessian", 3, lr=None, loss=-1.0, subject="booth", started="2026-11-09T08:00:00+00:00", seconds=0.5)
    return outputs


def numbers(capsys: pytest.CaptureFixture[str], outputs: Path, *words: str) -> list[int]:
    """The numbers of the runs that a command lists, in its order."""
    assert main([str(outputs), *words, "--columns", "digest", "--format", "json"]) == 0
    return [int(row["digest"], 16) for row in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [3, 2, 1]),  # the newest first
        (["--reverse"], [1, 2, 3]),
        (["--limit", "2"], [3, 2]),
        (["--limit", "0"], []),
        (["--topic", "hessian"], [3]),
        (["--topic", "hessian", "--topic", "descent"], [3, 2, 1]),
        (["--status", "diverged"], [1]),
        (["--status", "running"], []),
        (["--where", "lr>0.01"], [1]),
        (["--where", "lr >= 1e-2"], [2, 1]),
        (["--where", "lr=0.010"], [2]),
        (["--where", "lr!=0.1"], [2]),  # a run without lr is none with another lr
        (["--where", "lr=null"], [3]),
        (["--where", "lr!=null"], [2, 1]),
        (["--where", "lr<1", "--where", "status=completed"], [2]),
        (["--where", "subject=booth"], [3]),
        (["--where", "subject!=booth"], [2, 1]),
        (["--where", "function.expr==x**2"], [3, 2, 1]),
        (["--where", "function.at=[1.5]"], [3, 2, 1]),
        (["--where", "function.at=[1.50]"], [3, 2, 1]),
        (["--where", "deep.flag=true"], [2]),
        (["--where", "topic>e"], [3]),
        (["--where", "steps=40"], [3, 2, 1]),  # what was reached; the knob is knob.steps
        (["--where", "knob.steps=100"], [3, 2, 1]),
        (["--where", "value.loss<0"], [3]),
        (["--where", "gradient_norm=1"], [3, 2, 1]),
        (["--where", "size>0"], [3, 2, 1]),
        (["--since", "2026-11-05T08:00:00+00:00"], [3, 2]),
        (["--before", "2026-11-05T08:00:00+00:00"], [1]),
        (["--since", "2026-11-03", "--before", "2026-11-07"], [2]),
        (["--sort", "seconds"], [3, 1, 2]),
        (["--sort", "loss"], [3, 1, 2]),  # NaN last
        (["--sort", "loss", "--reverse"], [1, 3, 2]),  # also here
        (["--sort", "lr"], [2, 1, 3]),
        (["--sort", "subject", "--limit", "1"], [3]),
    ],
)
def test_filters_and_order(
    three: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[int]
) -> None:
    assert numbers(capsys, three, *words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topic", "hesian"], "hessian"),
        (["--status", "done"], "completed"),
        (["--where", "los>1"], "Did you mean loss"),
        (["--where", "lr"], "in quotes"),
        (["--where", "lr>fast"], "is a number"),
        (["--sort", "sconds"], "seconds"),
        (["--columns", "lr,losss"], "loss"),
        (["--since", "yesterday"], "2026-11-01"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    three: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main([str(three), *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.err.count("\n") == 1
    assert found.out == ""


def test_no_folder_and_no_runs(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs)]) == 2
    outputs.mkdir()
    assert main([str(outputs), "--topic", "descent", "--where", "lr>1", "--sort", "lr"]) == 0
    assert capsys.readouterr().out.startswith("0 runs of 0")


def test_the_table_is_one_line_a_run(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = three / "descent" / "broken-0123456789ab"
    broken.mkdir()
    (broken / "outcome.json").write_text("{")
    assert main([str(three), "--columns", "+lr,loss", "--sort", "lr"]) == 0
    head, *rows, foot = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["lr", "loss", "folder"]
    assert [row.split()[0] for row in rows] == ["descent", "descent", "descent", "hessian"]
    assert len({row.index(str(three)) for row in rows}) == 1  # the folders stand below each other
    assert "unreadable" in rows[2]
    assert foot.startswith("4 runs of 4")


def test_csv_reads_back(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(three), "--format", "csv", "--sort", "lr"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["lr"] for row in rows] == ["0.01", "0.1", ""]
    assert json.loads(rows[0]["function.at"]) == [1.5]


def test_json_is_strict_and_whole(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(three), "--format", "json", "--sort", "lr", "--disk"]) == 0
    rows = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(text))
    assert rows[0]["loss"] == "nan"
    assert {"knob.steps", "deep.flag", "size"} <= set(rows[0])


def test_disk_use_is_what_du_says(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next((three / "descent").iterdir())
    (folder / "deep").mkdir()
    (folder / "deep" / "large.bin").write_bytes(os.urandom(300_000))
    (folder / "link").symlink_to(sys.executable)
    said = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True)
    assert math.ceil(disk.used(folder) / 1024) == int(said.stdout.split()[0])
    assert main([str(three), "--disk"]) == 0
    out = capsys.readouterr().out
    assert disk.readable(disk.used(folder)) in out
    assert out.splitlines()[-1].split()[-1] in ("kB", "MB")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (1.5e9, "1.5 GB"), (2e15, "2e+03 TB")],
)
def test_sizes_in_words(size: float, text: str) -> None:
    assert disk.readable(int(size)) == text


def test_names_that_can_be_asked_for(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(three), "--names"]) == 0
    names = capsys.readouterr().out.split()
    assert {"status", "loss", "deep.flag", "knob.steps", "size"} <= set(names)
    for name in names:
        assert main([str(three), "--columns", name]) == 0


def test_a_terminal_gets_colours_and_brackets_stay(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calclab.archive import find, table

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    runs = find(three)
    (three / "descent" / runs[0].folder.name / "outcome.json").write_text("")
    out = Terminal()
    table.write(find(three), table.USUAL, out)
    assert str(runs[0].folder) in out.getvalue()  # whole, though the terminal is narrow, and with its [1]
    assert "\x1b[1;31m" in out.getvalue()


def test_a_reader_that_stops_is_no_error(three: Path) -> None:
    command = f"{sys.executable} -m calclab.runs {three} --format json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[", "")
