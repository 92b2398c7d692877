"""Sparse Jacobians whose structure is known: columns without a common row get one colour, and one product for all.

The columns are the vertices of a graph, joined where they meet in a row (Coleman and Moré 1983); a colouring of it is a
partition into columns that can go together, and the fewest colours are as hard to find as any graph's. It is coloured
greedily, the vertices of largest degree first (networkx), and the rows' graph likewise, whichever needs fewer products.
The columns of one row all meet, so that the longest row is a bound from below. A banded matrix of width b needs b
colours, whatever its size: three for a tridiagonal one.

>>> tridiagonal = [[j for j in (i - 1, i, i + 1) if 0 <= j < 100] for i in range(100)]
>>> found = pattern(tridiagonal, 100)
>>> found.colours, found.shape, found.kind
(3, (100, 100), '0.03 of its entries can differ from zero')
>>> pattern([range(9)] * 9, 9) is None  # a full matrix is not compressed
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

PAIRS = 2_000_000  # edges of a graph beyond which it is not coloured
FORWARD = 8  # a column by forward mode costs about so many rows by reverse mode, where a value is many small operations
WORTH = 2  # a colouring has to save this factor at least


class Structure(Protocol):
    """Which entries of J (m, n) can differ from zero, and which columns (``by_columns``) or rows go together."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def colours(self) -> int: ...

    @property
    def by_columns(self) -> bool: ...

    @property
    def kind(self) -> str:
        """Which columns or rows go together, in words."""
        ...

    def seeds(self, x: Tensor) -> Tensor:
        """The sums of unit vectors, one a colour: (c, n), or (c, m) of rows."""
        ...

    def places(self, device: torch.device) -> Tensor:
        """Which column (m, c) colour c has at each row, or which row (n, c) at each column; -1: none."""
        ...


@dataclass(frozen=True)
class Pattern:
    """Row i of J (m, n) may differ from zero in the columns ``entries[i]``; ``colour`` of each column, or each row."""

    entries: tuple[tuple[int, ...], ...]
    inputs: int
    by_columns: bool
    colour: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.entries), self.inputs

    @cached_property
    def colours(self) -> int:
        return max(self.colour) + 1

    @property
    def kind(self) -> str:
        share = sum(map(len, self.entries)) / max(1, len(self.entries) * self.inputs)
        return f"{share:.2g} of its entries can differ from zero"

    def seeds(self, x: Tensor) -> Tensor:
        """(c, n), or (c, m) of rows: the sum of the unit vectors of each colour."""
        colour = torch.tensor(self.colour, device=x.device)
        return (torch.arange(self.colours, device=x.device)[:, None] == colour).to(x.dtype)

    def places(self, device: torch.device) -> Tensor:
        """The column (m, c) that each row has in each colour, or the row (n, c) that each column has; -1: none."""
        own = self.entries if self.by_columns else turned(self.entries, self.inputs)
        table = [[-1] * self.colours for _ in own]
        for line, others in zip(table, own, strict=True):
            for other in others:
                line[self.colour[other]] = other
        return torch.tensor(table, device=device)


def pattern(entries: Sequence[Sequence[int]], inputs: int) -> Pattern | None:
    """The pattern, coloured; None where that would save little."""
    rows = tuple(tuple(row) for row in entries)
    columns = turned(rows, inputs)
    best: Pattern | None = None
    for by_columns, cliques, count in ((False, columns, len(rows)), (True, rows, inputs)):
        least = max(map(len, cliques), default=0)  # these all meet: each needs a colour of its own
        limit = min(len(rows), inputs) / WORTH if best is None else best.colours / FORWARD
        if least > limit or sum(len(c) ** 2 for c in cliques) > PAIRS:
            continue
        colour = coloured(cliques, count)
        if max(colour) + 1 <= limit:
            best = Pattern(rows, inputs, by_columns, colour)
    return best


def coloured(cliques: Sequence[Sequence[int]], count: int) -> tuple[int, ...]:
    """A colour for each of ``count`` vertices, those of a clique all different: at most one colour more than the
    largest degree."""
    import networkx  # type: ignore[import-untyped]

    graph = networkx.Graph()
    graph.add_nodes_from(range(count))
    for clique in cliques:
        graph.add_edges_from(combinations(clique, 2))
    found = networkx.greedy_color(graph, strategy="largest_first")
    return tuple(found[k] for k in range(count))


def turned(rows: Sequence[Sequence[int]], count: int) -> tuple[tuple[int, ...], ...]:
    """The rows of each of ``count`` columns.

    >>> turned([[0, 2], [2]], 3)
    ((0,), (), (0, 1))
    """
    found: list[list[int]] = [[] for _ in range(count)]
    for i, row in enumerate(rows):
        for j in row:
            found[j].append(i)
    return tuple(tuple(column) for column in found)
