"""Texts that others wrote (names, errors, words typed), made safe for where they are shown: a terminal, a shell, a
spreadsheet. No imports that are not there anyhow: messages of every kind pass through here.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable

OBEYED = ("Cc", "Cs", "Zl", "Zp")  # kinds of characters that a terminal obeys, or cannot show
REORDERS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
SHORT = 80  # characters of a value that a message repeats
FORMULA = re.compile("'*[=+\\-@\t\r＝＋－＠]")  # what a spreadsheet would compute, and what is guarded already


def printable(text: str) -> str:
    """The text in one line, with what a terminal would obey (colours, bells, line ends) shown as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if char in REORDERS or unicodedata.category(char) in OBEYED else char
        for char in text
    )


def say(text: str) -> None:
    """A line to the user."""
    print(printable(text))


def warn(text: str, program: str = "calclab") -> None:
    """A line beside the answer: a mistake, a warning, what goes on."""
    print(f"{program}: {printable(text)}", file=sys.stderr, flush=True)


def shortened(text: str, most: int = SHORT) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def command(words: Iterable[str]) -> str:
    """A line that bash takes for just these words."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """One word of a command line; control characters as bash writes them, so that the line can be shown."""
    if printable(word) == word:
        return shlex.quote(word)
    plain = set(range(32, 127)) - set(b"\\'")
    spelt = (chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(spelt)}'"


def cell(text: str) -> str:
    """A text as a cell of a CSV: what a spreadsheet would compute has an apostrophe before it. Numbers stay numbers."""
    return f"'{text}" if FORMULA.match(text) and not is_number(text) else text


def of_cell(written: str) -> str:
    """The text that `cell` has written."""
    return written[1:] if written[:1] == "'" and FORMULA.match(written, 1) else written


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
