"""Lines to the terminal. Colours only where the stream is one; the words alone carry the meaning. No torch here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from calclab.text import printable

if TYPE_CHECKING:
    from rich.text import Text


def show(lines: Iterable[Sequence[str]], stream: TextIO | None = None) -> None:
    """Print lines (heading, text, style) to ``stream`` (stdout): in colour on a terminal, as plain text elsewhere."""
    stream = sys.stdout if stream is None else stream
    lines = [(printable(heading), printable(text), style) for heading, text, style in lines]
    if not stream.isatty():
        stream.writelines(f"{join(heading, text)}\n" for heading, text, _ in lines)
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    for heading, text, style in lines:
        console.print(styled(heading, text, style), soft_wrap=True)


def join(heading: str, text: str) -> str:
    return f"{heading:<9} {text}" if text else heading


def styled(heading: str, text: str, style: str) -> Text:
    from rich.text import Text

    if not text:
        return Text(heading, style=style)
    return Text.assemble((f"{heading:<9} ", "dim"), (text, style))
