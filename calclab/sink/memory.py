"""Keeps everything in memory: for tests, and for claims that look at the whole trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from calclab.core import Column, Columns, Evidence, Outcome, Run


class MemorySink:
    """What was written, joined: ``columns`` by name, ``rows`` of evidence, ``run`` and ``outcome``."""

    remembers = True  # is told again what was logged before a run went on

    def __init__(self) -> None:
        self.run: Run | None = None
        self.outcome: Outcome | None = None
        self.rows: list[Evidence] = []
        self._blocks: dict[str, list[Column]] = {}

    @property
    def columns(self) -> dict[str, Column]:
        """The blocks of each name joined: (steps of all blocks, *shape of the value)."""
        return {name: join(blocks) for name, blocks in self._blocks.items()}

    def open(self, run: Run) -> None:
        self.run = run

    def write(self, columns: Columns) -> None:
        for name, column in columns.items():
            self._blocks.setdefault(name, []).append(column)

    def evidence(self, rows: Sequence[Evidence]) -> None:
        self.rows.extend(rows)

    def flush(self) -> None: ...

    def close(self, outcome: Outcome) -> None:
        self.outcome = outcome


def join(blocks: Sequence[Column]) -> Column:
    """One column from its blocks, in the order they came."""
    return Column([k for block in blocks for k in block.steps], torch.cat([block.data for block in blocks]))
