"""Names that are code to a terminal, a browser or a spreadsheet: columns of a table, folders, words typed."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import calclab
from calclab.archive import Run
from calclab.text import FORMULA, is_number

NAMES = [
    "=1+1",
    "<script>alert(1)</script>",
    "\x1b[31mred",
    "@sum",
    "-x",
    "+y|z",
    "`tick",
    "'=quoted",
    "[a](javascript:1)",
]
TARGET = "<img src=x onerror=alert(1)>"
PLACES = ["a b", "it's", 'say "so"', "$HOME", "x[1]", "a;b", "-n", "λ", "a{b}", "a=b"]


def rendered(text: str) -> list[str]:
    """Markdown as the two kinds of reader show it."""
    import markdown
    from tensorboard.plugin_util import markdown_to_safe_html

    return [markdown.markdown(text, extensions=["tables", "fenced_code"]), markdown_to_safe_html(text)]


def test_names_are_shown_and_obeyed_by_nothing(lab, tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, TARGET])
        for i in range(30):
            row = [(i * k + i // k) % 7 for k in range(1, len(NAMES) + 1)]
            writer.writerow([*row, 3 * row[0] - row[1] + i / 10])
    line = "topic=importance network=linear data=table data.path=t.csv trust=false figures=false train=50"
    result = lab(shlex.join([*line.split(), f"data.target={TARGET}"]))
    assert result.status in (0, 3), result.err
    assert "\x1b" not in result.out + result.err
    (folder,) = (tmp_path / "outputs" / "importance").iterdir()
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert "\x1b" not in summary
    for html in rendered(summary):
        assert "<script" not in html.lower()
        assert "<img" not in html.lower()
        assert 'href="javascript' not in html.lower()
    for path in folder.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [word for row in csv.reader(file) for word in row]
        assert cells
        assert not [word for word in cells if FORMULA.match(word) and word[0] != "'" and not is_number(word)]
    run = calclab.load(folder)
    assert isinstance(run, Run)
    assert set(run.table()["feature"]) == set(NAMES)


@pytest.mark.parametrize("outputs", PLACES)
def test_what_is_printed_to_be_typed_can_be_typed(lab, outputs: str, tmp_path: Path) -> None:
    """`see it`, and the command of the summary, through bash: with the same words as were typed."""
    words = ["topic=derivative", "steps=3", "figures=false", f"outputs={outputs}", "function.expr=x**2 + 1"]
    result = lab(shlex.join(words))
    assert result.status == 0, result.err
    (see,) = (line.removeprefix("see it").strip() for line in result.out.splitlines() if line.startswith("see it"))
    (folder,) = (tmp_path / outputs / "derivative").iterdir()
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    (again,) = (line.strip() for line in summary.splitlines() if line.startswith("    python -m calclab"))
    recorded = json.loads((folder / "outcome.json").read_text())["provenance"]["command"]
    assert again == recorded
    shown = "tensorboard() { printf '%s\\0' \"$@\"; }; python() { printf '%s\\0' \"$@\"; }; "
    typed = [
        subprocess.run(["bash", "-c", shown + text], cwd=tmp_path, capture_output=True, check=True).stdout.decode()
        for text in (see, again)
    ]
    program, folder_typed = typed[0].split("\0")[:-1]
    assert program == "--logdir"
    assert (tmp_path / folder_typed).samefile(folder)
    assert typed[1].split("\0")[:-1] == ["-m", "calclab", *words]


@pytest.mark.parametrize("outputs", PLACES[:5])
def test_a_sweep_in_such_a_place(lab, outputs: str, tmp_path: Path) -> None:
    words = ["-m", "topic=derivative", "steps=3,4", "figures=false", f"outputs={outputs}"]
    assert lab(shlex.join(words)).status == 0
    (table,) = (tmp_path / outputs / "sweeps").glob("*/sweep.csv")
    assert pd.read_csv(table)["status"].tolist() == ["completed"] * 2
    assert len(list((tmp_path / outputs / "derivative").iterdir())) == 2


def test_quotes_around_a_folder_are_hydras(lab, tmp_path: Path) -> None:
    """``-m 'outputs="a b"'``: the quotes are no part of the name."""
    assert lab("""-m topic=derivative steps=3,4 figures=false 'outputs="a b"'""").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a b"]
    assert {path.name for path in (tmp_path / "a b").iterdir()} == {".locks", "derivative", "sweeps"}
