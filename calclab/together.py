"""Many descents as one scan: runs that differ only in numbers walk side by side, a row of one array each.

The scan is `Descent`'s own: its start is (runs, n), its learning rate (runs, 1), and rules that work entry by entry,
the gradients of formulas and `vmap` of any other function take both as they are. What comes out is cut into runs
again, each with its own end, its own evidence and its own answer, as if it had walked alone.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Column, Columns, Evidence, Scan, State, Status, Topic
from calclab.drive import block, due
from calclab.optimizer import stack
from calclab.topic.descent.descent import Descent
from calclab.topic.descent.ending import ends

BYTES = 2**28  # of states kept for one block: all runs, some steps
STEPS = 2048  # the longest block


def obstacle(topic: Descent) -> str:
    """Why this descent cannot walk with others; empty when it can."""
    if not getattr(topic.optimizer, "entrywise", False):
        return f"{type(topic.optimizer).__name__} does not work entry by entry"
    if topic.sharpness["every"]:
        return "sharpness is found for one point at a time"
    return ""


def walk(topics: Sequence[Descent], received: Sequence[int] = ()) -> Iterator[tuple[Scan, Columns]]:
    """The scan and the columns of each of ``topics``, in their order; none once a signal is ``received`` on the way.

    They have one subject and one rule, schedule and number of steps, and differ in lr, tol, the rule's numbers, and
    where they start.
    """
    leader = joined(topics)
    found: list[tuple[int, Status] | None] = [None] * len(topics)
    parts: list[list[Columns]] = [[] for _ in topics]
    evidence: list[list[Evidence]] = [[] for _ in topics]
    last: list[State] = [{} for _ in topics]
    state, first = leader.init(), 0
    size = block_size(state)
    while first <= leader.steps and None in found:
        if received:
            return
        stop = min(first + size, leader.steps + 1)
        _, states, columns = block(leader, state, range(first, stop), every)
        here = ends(columns, leader.tol, leader.scale, settles=leader.minibatches is None)
        columns = by_run(columns)
        wanted = [k for k in range(first, stop) if due(leader, k)]
        looks: dict[int, list[int]] = {k: [] for k in wanted}  # the runs that are looked at, by step
        for j, topic in enumerate(topics):
            if found[j] is not None:
                continue
            own = row(columns, j)
            if topic.predicted is None:
                own.pop("predicted_contraction", None)
            end = found[j] = here[j] or ((topic.steps, Status.COMPLETED) if stop > topic.steps else None)
            until = stop if end is None else end[0] + 1
            parts[j].append(own if until == stop else cut(own, until))
            if end is not None:
                last[j] = pick(states[end[0]], j)
            for k in dict.fromkeys([*wanted[: bisect_left(wanted, until)], *([end[0]] if end else [])]):
                looks.setdefault(k, []).append(j)
        for k in sorted(looks):
            for j, rows in zip(looks[k], looked(topics, states[k], k, looks[k]), strict=True):
                evidence[j] += rows
        state, first = states[stop - 1], stop
    for j, end in enumerate(found):
        assert end is not None
        columns = merge(parts[j])
        values = {name: column.data[-1] for name, column in columns.items() if len(column.steps)}
        yield Scan(end[1], end[0], last[j], values, evidence[j]), columns


def looked(topics: Sequence[Descent], state: State, k: int, runs: Sequence[int]) -> Iterator[Sequence[Evidence]]:
    """The evidence of ``runs`` in step k: of step 0 once for all with the same start, of short walks all together."""
    if k > 0 and topics[0].short and topics[0].minibatches is None:
        some = {name: state[name][runs] for name in ("x", "gradient", "loss")}
        yield from topics[0].verify_each([topics[j] for j in runs], some, k)
        return
    known: dict[tuple[float, ...], Sequence[Evidence]] = {}
    for j in runs:
        topic = topics[j]
        start = tuple(topic.function.start.tolist()) if k == 0 and topic.short else (float(j),)
        if start not in known:
            known[start] = topic.verify(pick(state, j), k)
        yield known[start]


def joined(topics: Sequence[Descent]) -> Descent:
    """One descent whose start, learning rate and rule's numbers have a row for each of ``topics``."""
    first = topics[0]
    start = torch.stack([topic.function.start for topic in topics])
    one = copy.copy(first)
    vars(one).update(
        function=replace(first.function, start=start),
        short=first.short,
        predicted=predicted(topics, start),
        lr=column([topic.lr for topic in topics], start),
        tol=start.new_tensor([topic.tol for topic in topics]),
        scale=tuple(start.new_tensor(sizes) for sizes in zip(*(topic.scale for topic in topics), strict=True)),
        optimizer=stack([topic.optimizer for topic in topics]),
    )
    return one


def predicted(topics: Sequence[Descent], like: Tensor) -> Tensor | None:
    """Theory's contraction of each run, (runs,); None where it has nothing to say of any."""
    known = [topic.predicted for topic in topics]
    if all(number is None for number in known):
        return None
    return like.new_tensor([math.nan if number is None else float(number) for number in known])


def column(numbers: Sequence[float], like: Tensor) -> Tensor:
    """(runs, 1)."""
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None]


def block_size(state: State) -> int:
    """How many steps may be kept at once."""
    own = sum(value.numel() * value.element_size() for value in leaves(state))
    return max(1, min(STEPS, BYTES // max(1, 2 * own)))


def leaves(state: State) -> Iterator[Tensor]:
    for value in state.values():
        if isinstance(value, Tensor):
            yield value
        else:
            yield from leaves(value)


def pick(state: State, j: int) -> State:
    """The state of run ``j``; what has no rows, such as a count of steps, is everybody's."""
    return {
        name: pick(value, j) if isinstance(value, dict) else value[j] if value.ndim else value
        for name, value in state.items()
    }


def every(topic: Topic, k: int) -> bool:
    """Any step may be the last of some run."""
    return True


def by_run(columns: Columns) -> dict[str, Column]:
    """Columns (steps, runs, ...) as (runs, steps, ...), so that the numbers of one run lie together."""
    return {name: Column(column.steps, column.data.transpose(0, 1).contiguous()) for name, column in columns.items()}


def row(columns: Columns, j: int) -> dict[str, Column]:
    return {name: Column(column.steps, column.data[j]) for name, column in columns.items()}


def cut(columns: Columns, until: int) -> Columns:
    """The rows of steps before ``until``."""
    counts = {name: bisect_left(column.steps, until) for name, column in columns.items()}
    return {name: Column(columns[name].steps[:count], columns[name].data[:count]) for name, count in counts.items()}


def merge(parts: Sequence[Columns]) -> Columns:
    """Blocks one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: Column(
            [k for part in parts if name in part for k in part[name].steps],
            torch.cat([part[name].data for part in parts if name in part]),
        )
        for name in names
    }
