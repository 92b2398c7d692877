"""Many descents as one scan: runs that differ only in numbers walk side by side, a row of one array each.

The iteration is that of one descent: its start is (runs, n), its learning rate (runs, 1), and rules that work entry
by entry, the gradients of formulas and `vmap` of any other function take both as they are. What comes out is cut into
runs again, each with its own end, its own evidence and its own answer, as if it had walked alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Column, Columns, Evidence, Scan, State, Status
from calclab.drive import block, due
from calclab.optimizer import stack
from calclab.topic.descent.evidence import check_steps, size_at_start
from calclab.topic.descent.iteration import Iteration
from calclab.topic.descent.scan import Descent
from calclab.topic.descent.stopping import stops

BYTES = 2**28  # of states kept for one block: all runs, some steps
STEPS = 2048  # the longest block


def obstacle(topic: Descent) -> str:
    """Why this descent cannot walk with others; empty when it can."""
    if not getattr(topic.optimizer, "entrywise", False):
        return f"{type(topic.optimizer).__name__} does not work entry by entry"
    if topic.sharpness["every"]:
        return "sharpness is found for one point at a time"
    if topic.flow is not None:
        return "theory's flows go beside one run at a time"
    if topic.watch is not None:
        return "layers are watched at one point at a time"
    return ""


def walk(topics: Sequence[Descent], received: Sequence[int] = ()) -> Iterator[tuple[Scan, Columns]]:
    """The scan and the columns of each of ``topics``, in their order; none once a signal is ``received`` on the way.

    They have one subject and one rule, schedule and number of steps, and differ in lr, tol, the rule's numbers, and
    where they start.
    """
    iteration = side_by_side([topic.iteration for topic in topics])
    dtype = iteration.function.start.dtype
    tol = torch.tensor([topic.tol for topic in topics], dtype=dtype)
    scale = torch.tensor([topic.scale for topic in topics], dtype=dtype).unbind(1)
    found: list[tuple[int, Status] | None] = [None] * len(topics)
    parts: list[list[Columns]] = [[] for _ in topics]
    evidence: list[list[Evidence]] = [[] for _ in topics]
    last: list[State] = [{} for _ in topics]
    state, first = iteration.init(), 0
    size, steps = block_size(state), iteration.steps
    while first <= steps and None in found:
        if received:
            return
        stop = min(first + size, steps + 1)
        _, states, columns, _ = block(
            iteration, state, range(first, stop), lambda k: True
        )  # any may be some run's last
        if first == 0:
            same_program(topics, columns["loss"].data[0])
        here = stops(columns, tol, (scale[0], scale[1]), settles=iteration.minibatches is None)
        columns = by_run(columns)
        wanted = [k for k in range(first, stop) if due(topics[0], k)]
        checked: dict[int, list[int]] = {k: [] for k in wanted}  # the runs of which evidence is gathered, by step
        for j, topic in enumerate(topics):
            if found[j] is not None:
                continue
            own = row(columns, j)
            if topic.iteration.predicted is None:
                own.pop("predicted_contraction", None)
            end = found[j] = here[j] or ((steps, Status.COMPLETED) if stop > steps else None)
            until = stop if end is None else end[0] + 1
            parts[j].append(own if until == stop else cut(own, until))
            if end is not None:
                last[j] = pick(states[end[0]], j)
            for k in dict.fromkeys([*wanted[: bisect_left(wanted, until)], *([end[0]] if end else [])]):
                checked.setdefault(k, []).append(j)
        for k in sorted(checked):
            for j, rows in zip(checked[k], verify(topics, states[k], k, checked[k]), strict=True):
                evidence[j] += rows
        state, first = states[stop - 1], stop
    for j, end in enumerate(found):
        assert end is not None
        columns = merge(parts[j])
        values = {name: column.data[-1] for name, column in columns.items() if len(column.steps)}
        yield Scan(end[1], end[0], last[j], values, evidence[j]), columns


def verify(topics: Sequence[Descent], state: State, k: int, runs: Sequence[int]) -> Iterator[Sequence[Evidence]]:
    """The evidence of ``runs`` in step k: of a formula's step 0 once for all with the same start, otherwise of short
    walks all together."""
    first = topics[0]
    if first.evidence == "off":
        yield from ([] for _ in runs)
        return
    if (k > 0 or first.function.exact is None) and first.iteration.short and first.minibatches is None:
        x, loss, g = (state[name][runs] for name in ("x", "loss", "gradient"))
        yield from check_steps(first.function, x, loss, g, k, [size_at_start(topics[j].function) for j in runs])
        return
    known: dict[tuple[float, ...], Sequence[Evidence]] = {}
    for j in runs:
        topic = topics[j]
        start = tuple(topic.function.start.tolist()) if k == 0 and topic.iteration.short else (float(j),)
        if start not in known:
            known[start] = topic.verify(pick(state, j), k)
        yield known[start]


def same_program(topics: Sequence[Descent], losses: Tensor) -> None:
    """ValueError where the losses (runs,) at the starts are not those of each run's own function: two seeds may have
    made networks that differ in more than numbers."""
    functions = [topic.iteration.seen(0) for topic in topics]
    if len({id(f) for f in functions}) == 1 or topics[0].function.exact is not None:
        return
    with torch.no_grad():
        own = torch.stack([f.call(f.start) for f in functions])
    near = torch.isclose(own, losses, rtol=1e4 * torch.finfo(own.dtype).eps, atol=0, equal_nan=True)
    if not bool(near.all()):
        raise ValueError(f"run {int(near.int().argmin()) + 1} of {len(topics)} is another program")


def side_by_side(runs: Sequence[Iteration]) -> Iteration:
    """One iteration whose start, learning rate, prediction and rule's numbers have a row for each of ``runs``."""
    first, rule = runs[0], stack([run.rule for run in runs])
    assert rule is not None
    start = torch.stack([run.function.start for run in runs])
    return replace(
        first,
        function=replace(first.function, start=start),
        rule=rule,
        lr=column([float(run.lr) for run in runs], start),
        predicted=predicted([run.predicted for run in runs], start),
    )


def predicted(known: Sequence[float | Tensor | None], like: Tensor) -> Tensor | None:
    """Theory's contraction of each run, (runs,); None where it has nothing to say of any."""
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
