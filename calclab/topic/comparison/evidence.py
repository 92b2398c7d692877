"""Evidence for a comparison: its books, some of its walks taken again, alone, and f and ∇f where one of them stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from calclab.core import Evidence, Point, State
from calclab.numerics.agreement import identity
from calclab.numerics.operators import loss_and_gradient
from calclab.numerics.verify import check_gradient, check_value
from calclab.optimizer import spent
from calclab.topic.comparison.walks import Walks


def evidence(walks: Walks, state: State, k: int, alone: Mapping[str, Sequence[int]]) -> list[Evidence]:
    """Of step k; ``alone`` are the walks of each optimizer, by name, that are taken again."""
    found = [books(walks, state, k)]
    for i, (name, rows) in enumerate(alone.items()):
        for b in rows:
            found += same_alone(walks, name, state, i, b, k)
    return found + check_walk(walks, state, k % len(walks.rules), 7 * k % walks.rows, k)


def books(walks: Walks, state: State, k: int) -> Evidence:
    """No walk has used more than k evaluations after the one at its start."""
    most = state["used"].max().to(state["best"])
    note = f"the most of {state['used'].numel()} walks"
    return identity("evaluations used", "at most the clock", most, most.clamp(max=k), k, tolerance=0.0, note=note)


def same_alone(walks: Walks, name: str, state: State, i: int, b: int, k: int) -> list[Evidence]:
    """Walk b of optimizer i after as many steps of a descent alone: loss, point and evaluations."""
    moves = int(state["moves"][i, b])
    if not bool(state["x"][i, b].isfinite().all() & state["loss"][i, b].isfinite()):
        return []
    f, rule, lr = walks.function, walks.rules[name], walks.lrs[i][b]
    x = walks.starts[b % len(walks.starts)]
    own = rule.init(x)
    loss, g = loss_and_gradient(f, x)
    for _ in range(moves):
        move, own = rule.update(Point(x, loss, g, f), own, lr)
        x = x + move
        loss, g = loss_and_gradient(f, x)
    where = f"{name}, lr={lr:.3g}, start {b % len(walks.starts)}, {moves} steps"
    method, used = "the same descent alone", state["used"][i, b].to(loss)
    return [
        identity("loss", method, state["loss"][i, b], loss, k, note=where),
        identity("x", method, state["x"][i, b], x, k, note=where),
        identity("evaluations", method, used, torch.full_like(used, moves + spent(rule, own)), k, note=where),
    ]


def check_walk(walks: Walks, state: State, i: int, b: int, k: int) -> list[Evidence]:
    """f and ∇f where walk b of optimizer i stands, relative to their size at its start."""
    function, x, g = walks.function, state["x"][i, b], state["gradient"][i, b]
    if not bool(x.isfinite().all() & g.isfinite().all()):
        return []
    found: list[Evidence] = []
    scale = float(walks.scale[1][b])
    height, steepness = (float(part[b % len(walks.starts)]) for part in walks.first)
    if function.exact is not None and math.isfinite(height + steepness):
        scale = steepness
        found = check_value(function, x, state["loss"][i, b], k, scale=height)
    return found + check_gradient(function, x, g, k, scale=scale)
