"""The directive ``run``: a command is run while the documentation is built, and what it printed and drew is shown.

    ```{run} python -m calclab topic=descent lr=0.05
    :picture: path
    The caption, in Markdown.
    ```

The commands of a page share a folder, empty at its first command, as for a reader who types them all.
Options: ``picture``, names of pictures that the run has left; ``fold``, the answer is folded away; ``page``, the name
under which the HTML file that the command wrote is put beside the documentation; ``status``, the exit status (0).
A command that ends otherwise is a warning, and so an error of the build.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from calclab.app import main

RUNS = Path("_build/tour")  # below docs/: a folder a page
PAGES = Path("_build/pages")  # HTML files that commands wrote, copied to the root of what is built
log = logging.getLogger(__name__)


class Run(SphinxDirective):
    """A command, its answer and its pictures."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {
        "picture": directives.unchanged_required,
        "page": directives.unchanged_required,
        "status": directives.nonnegative_int,
        "fold": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        line = self.arguments[0]
        home = Path(self.env.srcdir, RUNS, self.env.docname)
        if not self.env.temp_data.setdefault("tour", False):  # the first command of the page
            shutil.rmtree(home, ignore_errors=True)
            self.env.temp_data["tour"] = True
        home.mkdir(parents=True, exist_ok=True)
        status, told = typed(line, home)
        if status != self.options.get("status", 0):
            log.warning("%s: exit status %s: %s", line, status, told, location=self.get_location())
        command = nodes.literal_block(line, line, language="shell", classes=["command"])
        answer = nodes.literal_block(told, told, language="text", classes=["answer"])
        shown: list[nodes.Node] = [command, *(folded(answer) if "fold" in self.options else [answer])]
        places = [place if place.is_dir() else place.parent for place in named(told, home)]
        for name in filter(None, re.split(r",\s*", self.options.get("picture", ""))):
            shown += self.picture(name, places, line)
        if "page" in self.options:
            shown += self.page([place for place in named(told, home) if place.suffix == ".html"], line)
        if self.content:
            caption = nodes.container(classes=["reading"])
            self.state.nested_parse(self.content, self.content_offset, caption)
            shown.append(caption)
        return shown

    def picture(self, name: str, places: list[Path], line: str) -> list[nodes.Node]:
        """The picture of a run, by its name; one that is no PNG by the name of its file."""
        for path in (place / f"{name}{suffix}" for place in places for suffix in (".png", "")):
            if path.is_file():
                uri = "/" + path.relative_to(self.env.srcdir).as_posix()
                alt = f"{name}: the picture that {line} draws"
                return [nodes.image(uri=uri, alt=alt, width="100%", classes=["picture"])]  # a width: links to itself
        log.warning("%s: no picture is called %s", line, name, location=self.get_location())
        return []

    def page(self, written: list[Path], line: str) -> list[nodes.Node]:
        """A link to the HTML file that the command wrote."""
        if not written:
            log.warning("%s: no page was written", line, location=self.get_location())
            return []
        name = self.options["page"]
        shutil.copy(written[0], Path(self.env.srcdir, PAGES, name))
        uri = "../" * self.env.docname.count("/") + name
        link = nodes.reference("", "Open the page that it wrote", refuri=uri, internal=False)
        return [nodes.paragraph("", "", link)]


def folded(answer: nodes.Node) -> list[nodes.Node]:
    """An answer that is shown when it is asked for."""
    head = nodes.raw("", "<details class='answer'><summary>The answer</summary>", format="html")
    return [head, answer, nodes.raw("", "</details>", format="html")]


class Screen(io.StringIO):
    """What a terminal would show: lines that are wrapped, tables that fit."""

    def isatty(self) -> bool:
        return True


def typed(line: str, home: Path) -> tuple[int, str]:
    """A command line typed in a folder: its exit status, and what it printed (of a mistake, what it said)."""
    _python, _m, _calclab, *words = shlex.split(line, comments=True)
    out, err = Screen(), io.StringIO()
    with (
        contextlib.chdir(home),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, COLUMNS="80", TERM="dumb"),
        mock.patch.object(sys, "argv", ["calclab"]),
        mock.patch.object(sys, "path", list(sys.path)),
    ):
        status = main(words)
    return status, (out.getvalue() if status in (0, 3) else err.getvalue()).rstrip()


def named(told: str, home: Path) -> list[Path]:
    """The files and folders below ``outputs`` that an answer names."""
    return [home / name for name in re.findall(r"outputs/[^\s:]+", told)]


def setup(app: Any) -> dict[str, Any]:
    """The directive, and the place of the pages that commands write."""
    Path(app.srcdir, PAGES).mkdir(parents=True, exist_ok=True)
    app.config.html_extra_path.append(str(PAGES))
    app.add_directive("run", Run)
    return {"parallel_read_safe": False}
