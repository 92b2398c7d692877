"""The pictures of a comparison, and what stands along the axes of its matrices."""

from __future__ import annotations

from collections.abc import Sequence

from calclab.core import Curves, Heatmap, Labels, Picture, Spread
from calclab.topic import words
from calclab.topic.comparison.tables import COLUMNS, QUARTILES


def labels(
    names: Sequence[str], keys: Sequence[str], sweeps: Sequence[Sequence[float]], marks: Sequence[int]
) -> Labels:
    """``keys`` are the names as parts of other names, ``marks`` places on the clock."""
    rates = tuple(tuple(f"{rate:.3g}" for rate in sweep) for sweep in sweeps)
    across = rates[0] if len(set(rates)) == 1 else words.count(len(rates[0]))
    clock = tuple(map(str, marks))
    over_rates = ("final_loss", "diverged", "rates", *(f"sensitivity{end}" for end in QUARTILES))
    over_clock = ("clock", *(f"{name}{end}" for name in ("course", "above") for end in QUARTILES))
    named: dict[str, tuple[Sequence[str], ...]] = {
        **{f"best_{key}": (own,) for key, own in zip(keys, rates, strict=True)},
        **dict.fromkeys(over_rates, (names, across)),
        **dict.fromkeys(over_clock, (names, clock)),
    }
    return {**named, "wins": (names, names), "table": (names, COLUMNS)}


def pictures(keys: Sequence[str]) -> Sequence[Picture]:
    """Those of the optimizers ``keys``."""
    found: list[Picture] = [
        Spread("lowest_loss_at_the_tuned_rate", "course", "clock", "gradient evaluations"),
        Spread("lowest_loss_above_the_lowest_of_all", "above", "clock", "gradient evaluations"),
        Spread("lowest_loss_by_learning_rate", "sensitivity", "rates", "learning rate"),
        Heatmap("share_of_walks_that_diverged", "diverged"),
        Curves("best_rate_at_every_budget", tuple(f"median_{key}" for key in keys), axis="gradient evaluations"),
    ]
    return [*found, Heatmap("wins_of_row_over_column", "wins")] if len(keys) > 1 else found
