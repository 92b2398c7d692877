"""A page stands alone, shows names as names, and lets nothing run that was not written into it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from calclab.report.html.document import Script, document, write
from calclab.report.html.mathml import mathml

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e'\"&\ud800"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_hostile_name_is_a_name(tmp_path: Path) -> None:
    html = document("page", title=HOSTILE)
    page = Elements(html)
    assert "script" not in [tag for tag, _ in page.found]
    assert "\x1b" not in html
    assert "\u202e" not in html
    (title,) = {text for text in page.texts if "alert" in text}
    assert title == "<script>alert(1)</script>\\x1b[31m\\u202e'\"&\\ud800"
    assert write(tmp_path / "new" / "page.html", html).read_text(encoding="utf-8") == html


def test_nothing_is_fetched_and_only_what_was_written_into_it_runs() -> None:
    script = Script("console.log('é')")
    plain, lively = (document("page", title="f", scripts=found) for found in ((), (script,)))
    policies = [
        next(attrs["content"] for tag, attrs in Elements(html).found if attrs.get("http-equiv")) or ""
        for html in (plain, lively)
    ]
    assert all(policy.startswith("default-src 'none'; img-src data:;") for policy in policies)
    assert "script-src" not in policies[0]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policies[1].endswith(f"script-src 'sha256-{digest}'")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", plain)


@pytest.mark.parametrize(
    ("latex", "said"),
    [
        (r"\operatorname{atan2}\left(x\right)", "<mtext>atan2</mtext>"),
        (r"\mathrm{a\_b}_{2}", "<mtext>a_b</mtext>"),
        (r"\text{<b>}", "&lt;b&gt;"),
    ],
)
def test_names_in_formulas_stay_in_one_piece(latex: str, said: str) -> None:
    assert said in mathml(latex)


@pytest.mark.parametrize(
    "latex",
    [
        r"\href{javascript:alert(1)}{x}",
        r'\color{red"onclick="alert(1)}{y}',
        r"\mathrm{<script>}",
        r"\text{&lol;}",
        r"\left(" * 3000,
        "x" * 10_000,
        "\x1b[31mx",
        r"\frac{",
    ],
)
def test_hostile_formulas_are_typeset_or_shown_as_code(latex: str) -> None:
    page = Elements(mathml(latex))
    assert page.found[0][0] in ("math", "code")
    assert not [attrs for _, attrs in page.found if {"href", "onclick", "style", "src"} & attrs.keys()]
    assert not {"script", "a", "b", "img"} & {tag for tag, _ in page.found}
    assert "\x1b" not in mathml(latex)
