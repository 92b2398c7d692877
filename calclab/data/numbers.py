"""Numbers as people write them: with a decimal comma, with marks between thousands.

What may mean two things (1,234) and what is more than a number (5%, $3) is said, and left to who knows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

EXPONENT = r"(?:[eE][+-]?\d+)?"
SPACE = "[ '\u2019\u00a0\u202f\u2009]"  # between thousands
INFINITE = "[iI]nf(?:inity)?"
POINT = (
    rf"{INFINITE}|(?:\d+\.?\d*|\.\d+){EXPONENT}|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d{{1,3}}(?:{SPACE}\d{{3}})+(?:\.\d+)?"
)
COMMA = rf"(?:\d+|\d*,\d+){EXPONENT}|\d{{1,3}}(?:\.\d{{3}})+(?:,\d+)?|\d{{1,3}}(?:{SPACE}\d{{3}})+(?:,\d+)?"
SIGN = "[+-]?"
UNIT = r"(?:[%$\u20ac\u00a3\u00a5\u20b9]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|US\$|R\$|kr\.?|Fr\.?)(?![A-Za-z]))"
BARE = rf"{SIGN}(?:{POINT}|{COMMA})"
MEASURED = re.compile(
    rf"{SIGN}\s*{UNIT}\s*{BARE}|{BARE}\s*{UNIT}|\(\s*{UNIT}?\s*(?:{POINT}|{COMMA})\s*{UNIT}?\s*\)", re.IGNORECASE
)


def plain(texts: Sequence[str]) -> list[str]:
    """Texts with the one minus that ``float`` knows."""
    return [text.replace("\u2212", "-") for text in texts]


def read_as(texts: Sequence[str], decimal: str) -> np.ndarray | None:
    """The numbers (m,) that ``texts`` are, if their decimal mark is a point, or a comma; None where one is none."""
    form = re.compile(SIGN + "(?:" + (POINT if decimal == "." else COMMA) + ")")
    texts = plain(texts)
    if not all(form.fullmatch(text) for text in texts):
        return None
    between = re.compile(SPACE + ("|," if decimal == "." else r"|\."))
    return np.array([float(between.sub("", text).replace(",", ".")) for text in texts])


def numbers_of(texts: Sequence[str]) -> tuple[np.ndarray | None, str]:
    """The numbers (m,) that different ``texts`` are all of, and what marks they have; None where they are none, or may
    be read in two ways ("ambiguous"), or have units ("units")."""
    if not texts:
        return None, ""
    point, comma = read_as(texts, "."), read_as(texts, ",")
    commas = any("," in text for text in texts)
    if point is not None and comma is not None and commas and not np.array_equal(point, comma):
        return None, "ambiguous"
    if point is not None:
        marked = commas or any(re.search(SPACE, text) for text in texts)
        return point, "marks between thousands" if marked else ""
    if comma is not None:
        return comma, "a decimal comma"
    return None, "units" if all(MEASURED.fullmatch(text) for text in plain(texts)) else ""
