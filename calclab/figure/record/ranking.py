"""The record of a ranking: in one order, signed, with intervals, and with the features that cannot be told apart."""

from __future__ import annotations

import math

from calclab.core import Columns, Labels, Ranking
from calclab.figure.record.curves import NAMED, numbers
from calclab.figure.record.matrices import axis_names
from calclab.figure.records import Numbers, RankingPanel

CLEAR = 0.3  # a direction up to which a feature works either way
TWO = 1.96  # standard errors of an interval of 95 %


def ranking(picture: Ranking, columns: Columns, labels: Labels, title: str) -> RankingPanel | None:
    """None where there is no importance."""

    def last(name: str) -> Numbers:
        column = columns.get(name)
        return numbers(column.data[-1]) if column is not None and len(column.steps) else ()

    mean = last(picture.importance)
    if not mean or not any(map(math.isfinite, mean)):
        return None
    names = axis_names(labels.get(picture.importance, ()), 0, len(mean))
    told = columns.get(picture.ranking)
    possible: list[tuple[int, int]] = []
    if told is not None and len(told.steps):
        table = [numbers(row) for row in told.data[-1]]
        centre, low, high = ([row[i] for row in table] for i in (1, 2, 3))
        order = sorted(range(len(table)), key=lambda i: table[i][4])
        possible = [(int(table[i][5]), int(table[i][6])) for i in order]
        said = "95 % intervals"
    else:
        error = last(picture.error) or (math.nan,) * len(mean)
        centre = list(mean)
        low, high = ([m + side * TWO * e for m, e in zip(mean, error, strict=True)] for side in (-1, 1))
        order = sorted(range(len(mean)), key=lambda i: -mean[i] if math.isfinite(mean[i]) else math.inf)
        said = "95 % intervals over the rows" if any(map(math.isfinite, error)) else ""
    directions = last(picture.direction) or (math.nan,) * len(mean)
    count = len(order)
    order = order[:NAMED]
    ways = tuple(way(directions[i]) for i in order)
    sides = [w or 1 for w in ways]
    values = tuple(side * centre[i] for side, i in zip(sides, order, strict=True))
    ends = [sorted((side * low[i], side * high[i])) for side, i in zip(sides, order, strict=True)]
    leaders = sum(first == 1 for first, _ in possible)
    notes = [
        said,
        "shaded: may be the first" if leaders > 1 else "",
        f"the {NAMED} largest of {count}" if count > NAMED else "",
    ]
    return RankingPanel(
        "\n".join(filter(None, (title, score(last(picture.score), picture.scored)))),
        tuple(names[i] for i in order),
        values,
        ways,
        tuple(end[0] for end in ends),
        tuple(end[1] for end in ends),
        leaders if leaders > 1 else 0,
        tuple(span(*ranks) for ranks in possible[:NAMED]),
        picture.axis,
        picture.towards,
        "; ".join(filter(None, notes)),
    )


def way(direction: float) -> int:
    return 0 if not abs(direction) >= CLEAR else 1 if direction > 0 else -1


def span(first: int, last: int) -> str:
    """The ranks that are possible: 2, or 1–7."""
    return f"{first}" if first == last else f"{first}–{last}"


def score(held_out: Numbers, scored: str) -> str:
    """How good the network is on rows held out, which decides what a ranking is worth."""
    if len(held_out) != 3:
        return ""
    value, guess, better = held_out
    shown = (f"{value:.1%}", f"{guess:.1%}") if scored == "right" else (f"{value:.3g}", f"{guess:.3g}")
    said = f"{shown[0]} {scored}" if scored == "right" else f"{scored} = {shown[0]}"
    poor = "" if better else ": no better than guessing, so this tells of the network and nothing of the data"
    return f"held out: {said} (guessing {shown[1]}){poor}"
