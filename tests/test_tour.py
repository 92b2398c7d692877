"""The documentation's directive `run`: the answer and the picture are those of the run, and a failure is a warning."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BOWL = "python -m calclab topic=descent function=bowl lr=0.05 steps=3"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Builds one page in Markdown: what is shown, and the warnings."""
    pytest.importorskip("myst_parser")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    monkeypatch.syspath_prepend(DOCS)
    importlib.import_module("tour")

    def page(text: str) -> tuple[str, str]:
        (tmp_path / "index.md").write_text(f"# A page\n\n{text}\n")
        warnings = io.StringIO()
        overrides = {"extensions": ["myst_parser", "tour"], "html_theme": "basic", "project": "a tour"}
        out, trees = tmp_path / "html", tmp_path / "trees"
        with docutils_namespace():
            Sphinx(tmp_path, None, out, trees, "html", overrides, status=None, warning=warnings, freshenv=True).build()
        return (out / "index.html").read_text(), warnings.getvalue()

    return page


def test_a_command_is_shown_with_its_answer_and_its_picture(build, tmp_path: Path) -> None:
    html, warnings = build(f"```{{run}} {BOWL}\n:picture: path\nHow to *read* it.\n```")
    assert not warnings
    (run,) = (tmp_path / "_build/tour/index/outputs/descent").iterdir()
    (image,) = re.findall(r'<img[^>]* src="([^"]+)"', html)
    assert (tmp_path / "html" / image).read_bytes() == (run / "path.png").read_bytes()
    assert run.name in html
    assert "How to <em>read</em> it." in html


def test_a_mistake_is_shown_where_it_is_meant(build) -> None:
    html, warnings = build("```{run} python -m calclab topic=descent lr=-1\n:status: 2\n```")
    assert not warnings
    assert "lr is a number" in html


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("```{run} python -m calclab topic=descent lr=-1\n```", "exit status 2"),
        (f"```{{run}} {BOWL}\n:status: 2\n```", "exit status 0"),
        (f"```{{run}} {BOWL}\n:picture: portrait\n```", "no picture is called portrait"),
        (f"```{{run}} {BOWL}\n:page: report.html\n```", "no page"),
    ],
)
def test_what_fails_is_a_warning(build, text: str, warned: str) -> None:
    assert warned in build(text)[1]
