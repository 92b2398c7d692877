"""The pages of a sweep and of many runs: what was swept, the best, and names as names."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from html_pages import Page

from calclab.archive.folder import write_record
from calclab.archive.read import find
from calclab.archive.sweep import read_sweep
from calclab.report.html.cards import ROWS, runs_document
from calclab.report.html.sweep import sweep_document

HOSTILE = "<script>alert(1)</script>\x1b[2J"
COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")


def a_run(outputs: Path, number: int, name: str) -> Path:
    folder = outputs / "descent" / f"run-{number:012x}"
    folder.mkdir(parents=True)
    answer = {"sentence": f"loss {number}; {name}", "values": {"loss": float(number)}}
    made = {"topic": "descent", "subject": name, "title": f"descent of {name}", "status": "completed", "answer": answer}
    provenance = {"command": f"python -m calclab lr={number}", "started": f"2026-11-30T12:{number % 60:02}:00+00:00"}
    write_record(
        folder, {**made, "sentence": "took all its steps", "steps": 5, "seconds": 0.1, "provenance": provenance}
    )
    return folder


def a_sweep(outputs: Path, count: int, name: str = "bowl") -> Page:
    place = outputs / "sweeps" / "s-0123456789ab"
    place.mkdir(parents=True)
    with (place / "sweep.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        for k in range(count):
            folder = a_run(outputs, k, name)
            row = {"job": k, "overrides": f"lr={k + 1} function={name}", "status": "completed", "objective": float(k)}
            writer.writerow({**row, "steps": 5, "seconds": 0.1, "exit": 0, "folder": str(folder)})
        writer.writerow({"job": count, "overrides": "lr=0", "status": "failed", "exit": 1, "error": HOSTILE})
    (place / "multirun.yaml").write_text("hydra: {overrides: {task: [lr=1, 'function=a b']}}")
    return Page(sweep_document(read_sweep(place)))


def test_the_best_is_told_and_its_run_shown(tmp_path: Path) -> None:
    page = a_sweep(tmp_path / "outputs", 5)
    assert "Sweep of lr" in page.text
    assert "6 jobs" in page.text
    assert "1 failed" in page.text
    assert "python -m calclab lr=0" in page.text  # the best job's own command
    assert "python -m calclab -m lr=1 'function=a b'" in page.text


def test_of_a_long_sweep_all_jobs_are_in_a_table_that_is_folded(tmp_path: Path) -> None:
    page = a_sweep(tmp_path / "outputs", 200)
    assert page.tags.count("table") == 2
    assert page.tags.count("tr") > 200
    assert len(page.html) <= 3_000_000


@pytest.mark.parametrize("name", [HOSTILE, "'; DROP TABLE", "é漢🙂"])
def test_names_are_names(tmp_path: Path, name: str) -> None:
    outputs = tmp_path / "outputs"
    for page in (a_sweep(outputs, 3, name), Page(runs_document(outputs, find(outputs)))):
        assert "script" not in page.tags
        assert "\x1b" not in page.html
        assert name.partition("\x1b")[0] in page.text


def test_many_runs_make_a_page_that_can_be_mailed(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for k in range(ROWS + 5):
        a_run(outputs, k, "bowl")
    page = Page(runs_document(outputs, find(outputs)))
    assert len(page.html) <= 3_000_000
    assert f"{ROWS + 5} runs" in page.text
    assert "and 5 more" in page.text
