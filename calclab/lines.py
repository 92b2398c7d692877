"""What is said of a run, as data: labelled lines and small tables, which a terminal, a page and a notebook each show in
their own way. No imports: a finished run is shown again without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """A label of a word or two, and what is said under it.

    ``of`` is the name of the value that the text tells, where it tells one. ``kind`` says what the line is for the
    reader: "title", "headline", "good", "doubtful" or "bad" news, "place" (to be copied, and so never broken).

    >>> Line("trace", "20", of="trace").plain()
    {'label': 'trace', 'text': '20', 'of': 'trace'}
    """

    label: str
    text: str
    of: str = ""
    kind: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        kept = {"of": self.of, "kind": self.kind}
        return {"label": self.label, "text": self.text} | {key: value for key, value in kept.items() if value}


@dataclass(frozen=True)
class Table:
    """A few rows of texts under a head; the first column names the rows. ``of`` as in a line."""

    label: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    of: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        made = {"label": self.label, "head": list(self.head), "rows": [list(row) for row in self.rows]}
        return made | ({"of": self.of} if self.of else {})


Said = Line | Table


def of_plain(entry: Mapping[str, Any]) -> Said:
    """A line or a table from what JSON holds of it."""
    if "rows" in entry:
        return Table(entry["label"], entry["head"], entry["rows"], entry.get("of", ""))
    return Line(entry["label"], entry["text"], entry.get("of", ""), entry.get("kind", ""))
