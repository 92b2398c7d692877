"""What a state holds, put together: attributions of all rows, what trainings brought, ranks, what is logged last."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject import again
from calclab.topic.importance import trust
from calclab.topic.importance.ranks import Ranks, rank_correlation, ranks

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

SHOWN = 40  # rows, at most, of the heat map
RANKED = ("importance", "ranked_by", "low", "high", "rank", "rank_first", "rank_last")


def all_rows(topic: Importance, state: State) -> Tensor:
    """Attributions by feature of the rows so far, (M, N, C)."""
    blocks = [state["blocks"][str(i)]["values"] for i in range(len(state["blocks"]))]
    rows = torch.cat(blocks, 1)[:, : int(state["seen"])]
    found = []
    for name, part in zip(topic.by_row, rows, strict=True):
        factor = topic.factor_of(name)
        values = topic.asked.features.by_feature(part, name)
        found.append(values if factor is None else values * factor[: len(values)])
    return torch.stack(found)


def sizes(topic: Importance, state: State) -> Tensor:
    """|a| of the first method, (N, C); of permutation importance one row."""
    if topic.head == "permutation":
        return state["permutation"]["values"]
    return all_rows(topic, state)[0].abs()


def trainings(topic: Importance, state: State) -> Tensor | None:
    """Importance (S, C) of the network at hand, on the rows of ``part``, and of those trained again."""
    found = [entry["importance"] for entry in state.get("training", {}).values()]
    found = [entry for entry in found if bool(entry.isfinite().all())]
    if not found or (topic.head == "permutation" and "permutation" not in state):
        return None
    own = sizes(topic, state)
    own = own if topic.head == "permutation" else own[topic.part]
    return torch.stack([own.mean(0), *found])


def ranking(topic: Importance, state: State) -> Ranks | None:
    """None for few rows, which drawn again tell little of others; permutation importance needs trainings."""
    rows, others = sizes(topic, state), trainings(topic, state)
    enough = others is not None if topic.head == "permutation" else len(rows) >= trust.LEAST
    if topic.bootstrap == 0 or not enough or not bool(rows.isfinite().all()):
        return None
    return ranks(rows, others, topic.bootstrap, again.drawn(topic.seed, 3))


def ranked(mean: Tensor, found: Ranks) -> Tensor:
    """(C, 7): RANKED."""
    places = (part.to(mean) for part in (found.rank, found.first, found.last))
    return torch.stack([mean, found.centre, found.low, found.high, *places], 1)


def by_method(topic: Importance, state: State) -> Tensor:
    """Mean |a| by each method, (M, C), in their order."""
    means = dict(zip(topic.by_row, all_rows(topic, state).abs().mean(1), strict=True)) if topic.by_row else {}
    if "permutation" in state:
        means["permutation"] = state["permutation"]["values"][0]
    return torch.stack([means[name] for name in topic.methods if name in means])


def last(topic: Importance, state: State) -> dict[str, Tensor]:
    rows = sizes(topic, state)
    mean = rows.mean(0)
    values = {"importance": mean}
    if len(rows) > 1:
        values["standard_error"] = standard_error(rows)
    if (image := topic.asked.features.image) is not None:
        values["importance_map"] = mean.reshape(image).sum(0)
    if not topic.trust or not topic.methods:
        return values
    means = by_method(topic, state)
    if len(means) > 1:
        values["agreement"] = rank_correlation(means[:, None], means[None])
        values["shares"] = shares(means).T
    if topic.by_row and topic.count > 1:
        values["rows"] = shares(all_rows(topic, state)[0][trust.evenly(topic.count, SHOWN)])
    if (found := ranking(topic, state)) is not None:
        values["ranking"] = ranked(mean, found)
        values |= {"ranked_by": found.centre, "ranked_low": found.low, "ranked_high": found.high}
    return values


def standard_error(rows: Tensor) -> Tensor:
    """Of the mean of the rows (N, C), s/√N with s² over N - 1; NaN for one row."""
    if len(rows) < 2:
        return torch.full_like(rows[0], math.nan)
    return rows.std(0) / len(rows) ** 0.5


def shares(rows: Tensor) -> Tensor:
    """Each row (..., C) over the sum of its sizes; a row of zeros as it is."""
    totals = rows.abs().sum(-1, keepdim=True)
    return torch.where(totals > 0, rows / totals, 0.0)
