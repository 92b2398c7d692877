"""The page of a run says what its record says, with every name as a name, whatever state the folder is in."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_pages import Page
from PIL import Image

from calclab.archive.folder import add, write_record
from calclab.archive.run import read_run
from calclab.report.html import pictures
from calclab.report.html.captions import KINDS, NAMED, caption
from calclab.report.html.run import QUESTIONS, checks, question, run_document, sentence
from calclab.schema import catalogue

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e"
CHECKS = ("step", "quantity", "method", "value", "reference", "gap", "bound", "tolerance", "verdict", "note")


def record(**more: Any) -> dict[str, Any]:
    return {
        "topic": "hessian",
        "subject": "saddle",
        "title": "hessian of saddle",
        "status": "completed",
        "sentence": "took all its steps",
        "steps": 3,
        "seconds": 0.25,
        "answer": {"sentence": "a saddle; trace 0", "values": {"trace": 0.0, "H": [[1.0, 0.0], [0.0, -1.0]]}},
        "evidence": {"verdict": "certified", "sentence": "all 3 checks certified", "checks": 3, "rows": []},
        "claims": [],
        "notes": [],
        "provenance": {
            "command": "python -m calclab topic=hessian",
            "torch": "2",
            "started": "2026-11-30T12:00:00+00:00",
        },
        "latex": ["f(x) = x^{2}"],
        "pictures": [],
        "config": {"function": {"expr": "x**2 - y**2", "at": [1.0, 2.5]}, "network": None},
        **more,
    }


def folder_of(tmp_path: Path, made: Mapping[str, Any]) -> Path:
    folder = tmp_path / "hessian" / "saddle-0123456789ab"
    folder.mkdir(parents=True)
    write_record(folder, made)
    return folder


def page_of(tmp_path: Path, made: Mapping[str, Any]) -> Page:
    return Page(run_document(read_run(folder_of(tmp_path, made))))


def png(path: Path, size: int, noise: bool = False) -> None:
    entries = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(entries if noise else entries * 0).save(path, "png")


def test_question_answer_evidence_and_command_are_told(tmp_path: Path) -> None:
    page = page_of(tmp_path, record())
    for text in (
        "How is saddle curved at (1, 2.5)",
        "A saddle.",
        "proven to lie within its bound (all 3 checks certified).",
        "The run took all its steps (step 3, 0.25 s).",
        "x**2 - y**2",
        "python -m calclab topic=hessian",
        "[[1, 0], [0, -1]]",
        "30 November 2026, 12:00 UTC",
    ):
        assert text in page.text
    assert page.tags.count("math") == 1
    assert "details" in page.tags
    assert "script" not in page.tags


def test_every_topic_has_its_question() -> None:
    assert set(QUESTIONS) == {*catalogue.options("topic"), "watch"}
    for topic in QUESTIONS:
        assert question({"topic": topic, "subject": "booth"}).endswith("?")


def test_all_that_others_wrote_is_escaped(tmp_path: Path) -> None:
    hostile = record(
        title=HOSTILE,
        subject=HOSTILE,
        answer={"sentence": HOSTILE, "values": {HOSTILE: HOSTILE}},
        notes=[HOSTILE],
        claims=[{"text": HOSTILE, "expected": HOSTILE, "found": HOSTILE, "holds": False}],
        provenance={"command": HOSTILE, HOSTILE: HOSTILE, "started": HOSTILE},
        latex=[HOSTILE, r"\text{" + HOSTILE + "}"],
        config={HOSTILE: HOSTILE, "function": {"expr": HOSTILE, "at": [1]}},
        pictures=[{"name": HOSTILE, "kind": HOSTILE}],
    )
    folder = folder_of(tmp_path, hostile)
    with (folder / "verify.csv").open("w", newline="") as out:
        csv.writer(out).writerows([CHECKS, [HOSTILE] * len(CHECKS)])
    png(folder / "<script>alert(1)<‮.png", 4)
    add(folder, ["x.png"])
    (folder / ".files").write_text("<script>alert(1)<‮.png\n")
    page = Page(run_document(read_run(folder)))
    assert "alert(1)" in page.text
    assert not {"script", "iframe", "object"} & set(page.tags)
    assert all(attrs["src"].startswith("data:image/png") for tag, attrs in page.found if tag == "img" and attrs["src"])
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    assert not [char for char in "\x1b\u202e" if char in page.html]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_has_not_finished_has_a_page_too(tmp_path: Path, status: str) -> None:
    made = record(status=status, error="RuntimeError: no" if status == "failed" else None, steps=-1)
    if status == "running":
        for name in ("sentence", "answer", "evidence", "claims", "notes", "latex", "pictures"):
            del made[name]
    page = page_of(tmp_path, made)
    assert status.removeprefix("running") in page.text
    assert "The run" in page.text


def test_pictures_stand_in_the_order_that_the_run_names_them_and_others_are_the_users(tmp_path: Path) -> None:
    recorded = [
        {"name": "spectrum", "kind": "Spectrum"},
        {"name": "my way", "kind": "Bars"},
        {"name": "none", "kind": "Bars"},
    ]
    folder = folder_of(tmp_path, record(pictures=recorded))
    own = ["a.png", "my_way.png", "spectrum.png", "spectrum.svg", "formula.png"]
    for name in [*own, "holiday.png"]:
        png(folder / name, 10)
    add(folder, ["x"])
    (folder / ".files").write_text("".join(f"{name}\n" for name in own))
    found, left = pictures.figures(dict(pictures.of_folder(folder, recorded)))
    assert [figure.name for figure in found] == ["spectrum", "my_way", "a", "formula"]
    assert (found[0].caption, found[1].caption) == (NAMED["spectrum"].shows, "my way")
    assert not left
    page = run_document(read_run(folder))
    assert 'id="a"' in page
    assert 'id="formula"' not in page  # it is typeset


def test_a_page_stays_small_enough_to_be_mailed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, record())
    names = [f"p{k}.png" for k in range(8)]
    for name in names:
        png(folder / name, 600, noise=True)  # a megabyte each, which 256 colours make a third
    (folder / ".files").write_text("".join(f"{name}\n" for name in names))
    html = run_document(read_run(folder))
    page = Page(html)
    assert len(html) <= 3_000_000
    shown = [attrs["src"] for tag, attrs in page.found if tag == "img"]
    assert 0 < len(shown) < len(names)
    assert f"in the run's folder: {', '.join(names[len(shown) :])}" in page.text
    image = Image.open(io.BytesIO(base64.b64decode((shown[0] or "").partition(",")[2])))
    assert image.size == (600, 600)


def test_evidence_is_worst_first_and_numbers_are_short(tmp_path: Path) -> None:
    rows = [
        [k, "value", "'=way", 1 / 3, 1 / 3, 1e-17, "inf", 1e-10, verdict, ""]
        for k, verdict in enumerate(["certified"] * 250 + ["refuted", "suspect"])
    ]
    with (tmp_path / "verify.csv").open("w", newline="") as out:
        csv.writer(out).writerows([CHECKS, *rows])
    table = checks(tmp_path, {})
    assert [row[8] for row in table.rows[:3]] == ["refuted", "suspect", "certified"]
    assert table.rows[0][2:7] == ["=way", "0.333333", "0.333333", "1e-17", "inf"]
    assert table.more == f"… and {252 - len(table.rows)} more in verify.csv"


def test_a_formula_at_the_beginning_of_a_sentence_keeps_its_letters() -> None:
    assert sentence("f(2) = 19") == "f(2) = 19."
    assert sentence("loss 3") == "Loss 3."
    assert sentence("x3 matters most") == "x3 matters most."


def test_every_kind_of_picture_has_words() -> None:
    from calclab.figure.kinds import KINDS as DRAWN

    assert {kind.__name__ for kind in DRAWN} <= set(KINDS)
    assert all(caption({"name": "x", "kind": kind}).reading for kind in KINDS)
    assert all(found.shows.endswith(".") for found in NAMED.values())
