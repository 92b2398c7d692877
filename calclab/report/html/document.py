"""One self-contained HTML page: made from a template, with everything in it, for any browser and for paper.

A page has no link outwards, and its own policy forbids the browser to fetch anything or to run a script that was not
written into it here. Every text passes through `shown`: what a terminal or a reader would obey is spelt out, and Jinja
escapes the rest, so that a name such as ``<script>`` is a name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.folder import replace_file
from calclab.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = ("certified", "consistent", "inconclusive", "undefined", "suspect", "refuted")
TONES = {  # of words that say how something stands; the words alone carry the meaning
    **dict.fromkeys(("certified", "consistent", "completed", "converged", "holds"), "good"),
    **dict.fromkeys((*VERDICTS[2:5], "diverged", "nonfinite", "interrupted", "running"), "doubt"),
    **dict.fromkeys(("refuted", "failed", "unreadable", "does not hold"), "bad"),
}


@dataclass(frozen=True)
class Figure:
    """A picture of a page: ``source`` is its data address (see `data`). Where scripts run, ``markup``, what a library
    draws by itself, stands for it. ``reading`` tells how to look at it; ``width`` is in pixels of the page."""

    name: str
    caption: str
    reading: str = ""
    source: str = ""
    markup: str = ""
    width: int = 0
    broad: bool = False  # more than twice as wide as high: on a phone it is scrolled


@dataclass(frozen=True)
class Table:
    """Rows of texts below their ``heads``. ``wide`` are the columns that may be broken into lines, ``more`` says what
    was left out; a column of verdicts or states is coloured by its words."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    wide: Sequence[str] = ()
    more: str = ""


@dataclass(frozen=True)
class Script:
    """JavaScript of a maintained library, or of what it draws; the page's policy lets just these texts run."""

    text: str

    @property
    def hash(self) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(self.text.encode()).digest()).decode()}'"


def document(template: str, *, scripts: Sequence[Script] = (), **content: Any) -> str:
    """The HTML of ``templates/<template>.html``, which extends ``page.html`` and takes its parts from ``parts.html``.

    >>> "&lt;script&gt;" in document("page", title="<script>")
    True
    """
    return environment().get_template(f"{template}.html").render(scripts=scripts, **content)


def write(path: Path, html: str) -> Path:
    """Put a page in its place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace_file(path, html)


class Tones(dict[Any, str]):
    """The tone of each word; none of others."""

    def __missing__(self, word: Any) -> str:
        return ""


@cache
def environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    from calclab.report.html.mathml import mathml

    made.filters |= {"mathml": mathml, "anchor": anchor}
    made.globals |= {"tones": Tones(TONES)}
    return made


def shown(value: Any) -> Any:
    """A text with nothing in it that a reader's program would obey; markup as it is."""
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else printable(str(value))


def anchor(text: str) -> str:
    """A heading as the place in the page that an address can name."""
    return "".join(char if char.isalnum() else "-" for char in text.lower())


def data(content: bytes, kind: str) -> str:
    """The bytes of an image of this kind as a data address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def yaml_lines(tree: Mapping[str, Any]) -> list[str]:
    """A configuration as YAML, a text for each line."""
    import yaml

    text: str = yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n").split("\n")
