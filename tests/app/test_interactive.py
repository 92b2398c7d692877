"""Interactive pictures: the records that the static ones are drawn from, read back, drawn by Bokeh into a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from html_pages import CHROMIUM, Page, console

from calclab.app.interactive import helps, panels, picture
from calclab.archive.run import read_run
from calclab.core import Curves, Guide
from calclab.figure.records import BarsPanel, CurvesPanel, HeatmapPanel, Line
from calclab.report.outcome import picture_dict

HOSTILE = "</script><script>alert(1)</script><!--<script>"
LIMIT = 3_000_000


@pytest.fixture
def folder(lab) -> Path:
    assert lab("topic=descent function=rosenbrock steps=40").status == 0
    (found,) = Path("outputs", "descent").iterdir()
    return found


def test_a_record_is_read_back_as_it_was_drawn(folder: Path) -> None:
    found = dict(panels(read_run(folder)))
    assert set(found) == {"loss", "gradient_norm"}
    loss = found["loss"]
    assert isinstance(loss, CurvesPanel)
    rows = [line.split(",") for line in (folder / "scalars.csv").read_text().splitlines()]
    place = rows[0].index("loss")
    assert [str(y) for y in loss.lines[0].y] == [str(float(row[place])) for row in rows[1:]]


def test_definitions_come_back_and_those_of_other_kinds_do_not() -> None:
    made = Curves("loss", ("loss", "best"), log="xy", guides=(Guide("theory", "loss", 0.5),))
    assert picture(picture_dict(made)) == made
    assert picture({"kind": "Contours", "name": "path", "path": "x"}) is None
    assert picture({"kind": "Curves", "unheard": 1}) is None
    assert picture({}) is None


def test_what_the_static_picture_says_already_stays_static() -> None:
    names = tuple(map(str, range(20)))
    assert not helps(BarsPanel("t", names[:3], (1.0, 2.0, 3.0)))
    assert helps(BarsPanel("t", names, (1.0,) * 20))
    assert not helps(HeatmapPanel("t", names[:2], names[:2], ((1.0, 2.0),) * 2, 2.0))
    assert helps(HeatmapPanel("t", names, names, ((1.0,) * 20,) * 20, 2.0))


def test_without_bokeh_the_extra_is_named(folder: Path, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "bokeh"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    done = lab(f"report '{folder}' --interactive")
    assert done.status == 2
    assert "pip install 'calclab[interactive]'" in done.err
    assert not (folder / "report.html").exists()


def test_pages_of_many_have_none(folder: Path, lab) -> None:
    done = lab("report --interactive")
    assert done.status == 2
    assert "of a run" in done.err


def test_no_name_ends_a_script() -> None:
    pytest.importorskip("bokeh")
    from calclab.figure.interactive import plots

    lines = (Line(HOSTILE, (0.0, 1.0), (1.0, float("nan"))),)
    shown = {
        "curves": CurvesPanel(HOSTILE, HOSTILE, lines, False, True),
        "bars": BarsPanel(HOSTILE, (HOSTILE, HOSTILE), (1.0, 2.0), low=(0.5, 1.5), high=(1.5, 2.5)),
        "cells": HeatmapPanel(HOSTILE, (HOSTILE, HOSTILE), ("a",), ((1.0,), (float("nan"),)), 1.0),
    }
    markups, scripts = plots(shown)
    assert set(markups) == set(shown)
    assert all(Page(markup).tags == ["div"] for markup in markups.values())
    assert not [text for text in scripts if re.search(r"</script|<!--", text, re.IGNORECASE)]


def test_the_page_is_small_and_opens_from_a_file(folder: Path, lab, tmp_path: Path) -> None:
    pytest.importorskip("bokeh")
    assert lab(f"report '{folder}' --interactive").status == 0
    path = folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.html) <= LIMIT
    assert page.tags.count("noscript") == 2
    assert page.tags.count("script") == page.html.count("<script>") == 3
    policy = next(attrs["content"] for tag, attrs in page.found if "Content-Security-Policy" in str(attrs)) or ""
    assert policy.count("sha256-") == 3
    if CHROMIUM:
        said = [line for line in console(path, tmp_path / "profile") if "setting log level" not in line]
        assert said == []
