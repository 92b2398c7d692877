"""Text as Markdown that shows it as it is, whatever is in it: cells, code, tables. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from calclab.text import printable

HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
ESCAPED = str.maketrans({mark: "\\" + mark for mark in "\\`*_"} | HTML)
TAG = re.compile(r"<[A-Za-z/!?]")  # what a reader of Markdown might take for HTML


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a cell of a table, and in which nothing is a tag, a link or code."""
    return printable(" ".join(text.split())).translate(ESCAPED).replace("](", "]\\(")


def code(text: str) -> str:
    """Inline code that survives backquotes, tags and table cells."""
    text = printable(" ".join(text.split()))
    if TAG.search(text):
        return f"<code>{text.translate(ESCAPED)}</code>"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{fence}{space}{text.replace('|', '¦')}{space}{fence}"
