"""LaTeX as matplotlib's mathtext can set it: a good part of it, but no matrices and no lists of cases."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

ENVIRONMENT = re.compile(r"\\begin\{(p?matrix|bmatrix|cases)\}((?:(?!\\begin).)*?)\\end\{\1\}", re.DOTALL)
SUMS = re.compile(r"(\\sum_\{[^{}]*\}\^\{[^{}]*\})\s*(?=\\sum)")  # their limits would run into each other
SIZE = 10.5  # points: of a formula under a title
LONGEST = 300  # characters of its code


def mathtext(latex: str) -> str:
    """The formula without what mathtext does not know."""
    whole = " ".join(ENVIRONMENT.sub(in_line, latex).split())
    whole = whole.replace(r"\left|", r"\vert ").replace(r"\right|", r"\vert ")  # which it sets as colons
    return SUMS.sub(r"\1\\;\\;", whole).replace(r"\operatorname", r"\mathrm")


def in_line(match: re.Match[str]) -> str:
    """A matrix or a list of cases in one line, which mathtext can set: (a, b; c, d) and {a if x > 0; b otherwise}."""
    kind, rows = match[1], [row.split("&") for row in match[2].split(r"\\") if row.strip()]
    if kind == "cases":
        return r"\left\{" + r";\;\; ".join(r"\; ".join(row) for row in rows) + r"\right\}"
    column = all(len(row) == 1 for row in rows)
    inner = (r",\; " if column else r";\;\; ").join(r",\; ".join(row) for row in rows)
    left, right = {"pmatrix": ("(", ")"), "bmatrix": ("[", "]")}.get(kind, ("", ""))
    return rf"\left{left}{inner}\right{right}" if left else inner


@lru_cache(maxsize=32)
def outline(formula: str) -> tuple[Any, float, float, float] | None:
    """A formula as a path in points, its width, and where it ends above and below its baseline; None where it cannot
    be set. It is read once: that costs more than to draw it."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if len(formula) > LONGEST:
        return None
    try:
        path = TextPath((0, 0), f"${mathtext(formula)}$", size=SIZE, prop=FontProperties())
    except (ValueError, RuntimeError):
        return None
    if not len(path.vertices):
        return None
    (left, bottom), (right, top) = path.vertices.min(0), path.vertices.max(0)
    return path, float(right - left), float(top), float(bottom)
