"""Mathematics is explained where it is computed: a quarter of the lines that are not blank."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "calclab"
SHARE = 0.25
HELD = ("numerics", "numerics/jacobian", "second_order", "optimizer", "attribution")


def lines(text: str) -> tuple[int, int]:
    """How many lines of a module hold a docstring or a comment, and how many are not blank."""
    explained: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            explained |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    explained |= {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    full = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    return len(explained & full), len(full)


def test_lines_are_counted_as_said() -> None:
    text = '"""One.\n\nTwo.\n"""\n\nx = 1  # three\ny = "four"\n\n\ndef f():\n    """Five."""\n    return """\nsix"""\n'
    assert lines(text) == (5, 9)


@pytest.mark.parametrize("package", HELD)
def test_a_quarter_explains(package: str) -> None:
    found = [lines(path.read_text(encoding="utf-8")) for path in (PACKAGE / package).rglob("*.py")]
    explained, full = map(sum, zip(*found, strict=True))
    assert explained >= SHARE * full, f"{package}: {explained} of {full} lines explain ({explained / full:.1%})"
