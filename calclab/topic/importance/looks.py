"""The steps that follow the rows: each looks at the ranking from another side and adds what it found to the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject import again
from calclab.subject.network import Network
from calclab.topic.importance import gathered, trust
from calclab.topic.importance.methods import OF_ONE_TRAINING, SIZES
from calclab.topic.importance.ranks import rank_correlation

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

RANDOMISED = 64  # rows that the randomisation test looks at
Seen = tuple[dict[str, State] | dict[str, Tensor], dict[str, Tensor]]  # for the state under the step's kind, logged


def permutation(topic: Importance, state: State, i: int) -> Seen:
    asked = topic.asked
    seen = asked.look("permutation", topic.inputs, topic.labels_of(slice(0, len(topic.inputs))))
    error = torch.full_like(seen.values, torch.nan) if seen.error is None else seen.error
    found = {"values": asked.columns.by_feature(seen.values), "errors": asked.columns.by_feature(error)}
    return found, {"permutation": found["values"][0]}


def training(topic: Importance, state: State, i: int) -> Seen:
    """Importance (C,) of the network trained again from other weights on the rows outside fold i, and how wrong it and
    a guess are on those within."""
    found = trust.retrained(topic.asked, topic.head, topic.looked(), i, topic.retrains)
    values = {"training": torch.tensor(float(i + 1))}
    if topic.head not in OF_ONE_TRAINING:
        values["importance_trained_again"] = found["importance"]
    return {**state.get("training", {}), str(i): found}, values


def deletion(topic: Importance, state: State, i: int) -> Seen:
    """Deletion and insertion (M + 1,) with so many columns gone: by each method, and at random."""
    count, course = topic.course.counts()[i], topic.course
    rows = dict(zip(topic.by_row, gathered.all_rows(topic, state)[:, topic.part], strict=True))
    orders = [[course.order(rows[name], name not in SIZES)] for name in topic.ordering]
    orders.append(course.at_random(again.drawn(topic.seed, 1)))
    found = [torch.stack([torch.stack(course.at(order, count)) for order in each]).mean(0) for each in orders]
    parts = torch.stack(found)  # (M + 1, 2)
    values = {"part_of_columns": parts.new_tensor(count / course.columns)}
    for m, name in enumerate((*topic.ordering, "random")):
        values |= {f"deletion_{name}": parts[m, 0], f"insertion_{name}": parts[m, 1]}
    return {**state.get("deletion", {}), str(i): parts}, values


def randomised(topic: Importance, state: State, i: int) -> Seen:
    """Rank correlation (M,) of |a| with what it is once the last i layers are drawn anew, on average over rows."""
    assert isinstance(topic.subject, Network)
    asked = topic.asked
    chosen = topic.part[trust.evenly(len(topic.part), RANDOMISED)]
    network = again.with_new(topic.subject, again.resettable(topic.subject)[:i], again.drawn(topic.seed, 2))
    x, labels = topic.inputs[chosen], topic.labels_of(chosen)
    fixed = trust.predicted(asked, x)
    found = []
    for name, before in zip(topic.by_row, gathered.all_rows(topic, state)[:, chosen], strict=True):
        after = asked.features.by_feature(asked.look(name, x, labels, network=network, fixed=fixed).values, name)
        found.append(rank_correlation(before.abs(), after.abs()).nanmean())
    parts = torch.stack(found)
    values = {"layers_drawn_anew": parts.new_tensor(i)}
    values |= {f"randomised_{name}": part for name, part in zip(topic.by_row, parts, strict=True)}
    return {**state.get("randomised", {}), str(i): parts}, values


def removed(topic: Importance, state: State, i: int) -> Seen:
    """Scores (2,) of networks trained and tested without a part of the columns: the most important, any others."""
    most, any_ = trust.without(topic.asked, topic.head, gathered.all_rows(topic, state)[0], topic.roar[i], i)
    values = {"roar_removed": most.new_tensor(topic.roar[i]), "roar": most, "roar_random": any_}
    return {**state.get("removed", {}), str(i): torch.stack([most, any_])}, values


LOOKS: dict[str, Callable[[Importance, State, int], Seen]] = {
    look.__name__: look for look in (permutation, training, deletion, randomised, removed)
}
