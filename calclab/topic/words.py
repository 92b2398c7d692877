"""The words of an answer: numbers written short, and the nearest name to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from torch import Tensor

from calclab.core import Table

LABEL = 20  # characters of a label, at most
WRITTEN = 6  # rows and columns of a matrix, at most, that is written out


def number(value: Tensor | float) -> str:
    """Six significant digits, and no -0; a number that does not exist is called undefined."""
    x = float(value) + 0.0
    return "undefined" if x != x else f"{x:.6g}"


def listing(values: Iterable[Tensor | float | str], limit: int = 8) -> str:
    """The first ``limit`` entries, and how many more there are."""
    items = [value if isinstance(value, str) else number(value) for value in values]
    more = f", ... ({len(items)} in all)" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def ends(values: Tensor, limit: int = 8) -> str:
    """The entries of a sorted vector (n,); of a long one the first three and the last three."""
    if len(values) <= limit:
        return listing(values)
    return f"{listing(values[:3])}, ..., {listing(values[-3:])}"


def point(x: Tensor, limit: int = 6) -> str:
    """A point as it is written: (1, 2), 3; of many variables nothing."""
    return "" if len(x) > limit else listing(x) if len(x) == 1 else f"({listing(x)})"


def called(name: str, x: Tensor) -> str:
    """f(1, 2): a function's value at a point as a label, which a long one leaves out.

    >>> import torch
    >>> called("f", torch.tensor([0.5])), called("f", torch.arange(9.0))
    ('f(0.5)', 'f')
    """
    at = point(x)
    label = f"{name}({at.strip('()')})" if at else name
    return label if len(label) <= LABEL else name


def matrix(label: str, M: Tensor, rows: Sequence[str], columns: Sequence[str], of: str = "") -> list[Table]:
    """A small matrix (m, n) written out, as a table of which the first column names the rows; nothing of a large one.

    >>> import torch
    >>> matrix("J", torch.eye(2), ("u", "v"), ("x", "y"))[0].rows
    [('u', '1', '0'), ('v', '0', '1')]
    """
    if M.ndim != 2 or max(M.shape) > WRITTEN:
        return []
    found = [(name, *map(number, row)) for name, row in zip(rows, M.tolist(), strict=True)]
    return [Table(label, ("", *columns), found, of)]


def shape(tensor: Tensor) -> str:
    """A shape as Python writes it: (2, 3), (2,), ()."""
    return str(tuple(tensor.shape))


def count(n: int) -> tuple[str, ...]:
    """The names 0, 1, ..., n - 1 of entries that have none of their own."""
    return tuple(str(i) for i in range(n))


def nearest(wrong: str, allowed: Sequence[str]) -> str:
    """What to type instead: the nearest of the allowed names, or the list of them."""
    close = difflib.get_close_matches(wrong, allowed, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"There are: {listing(allowed, 20)}"
