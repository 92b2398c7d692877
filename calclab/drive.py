"""The only loop: it carries a topic's scan in blocks and hands whole columns to the sinks.

Values of a block stay where they were computed and are stacked and moved once. A topic is asked once a block whether
the run should have stopped; if so inside the block, the block is run again from its first state up to that step, so
that the state in hand is always the state after the last step logged. A step past the end that leaves the state as it
is and logs nothing ends the block by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from calclab.core import Column, Columns, Evidence, Scan, Sink, State, Status, Topic, Values

BLOCK_SECONDS = 0.25  # a block takes about this long, so that a run can be watched and stopped
BLOCK_STEPS = 1000
GROWTH = 64  # how much longer than the last a block may be


class Block(NamedTuple):
    """The state after some steps, the states at those of them to keep, the values in columns, and the step after the
    last one."""

    state: State
    seen: dict[int, State]
    columns: Columns
    stop: int


def begin(topic: Topic) -> Scan:
    """The scan before its first step."""
    return Scan(Status.INTERRUPTED, -1, topic.init(), {}, ())


def same(value: Any) -> Any:
    """What one process agrees on with itself."""
    return value


def drive(
    topic: Topic,
    sinks: Sequence[Sink],
    scan: Scan | None = None,
    pause: Callable[[Scan], bool] | None = None,
    agree: Callable[[Any], Any] = same,
) -> Scan:
    """Run ``topic`` from ``scan`` (its beginning) to its end.

    ``pause`` is asked after each block, when all sinks have written: it may save the scan, and ends it here by
    answering True. KeyboardInterrupt ends it at once, with what the steps before have brought.

    Where several processes carry one scan, ``agree`` tells all of them what the first has decided.
    """
    scan = begin(topic) if scan is None else scan
    size = 1
    try:
        while scan.step < topic.steps and scan.status is Status.INTERRUPTED:
            began, whole = time.perf_counter(), min(scan.step + size, topic.steps)
            scan = advance(topic, scan, size, sinks, agree)
            if scan.status is Status.INTERRUPTED and scan.step < whole:  # the block was
                break
            seconds = max(time.perf_counter() - began, 1e-9)
            size = max(1, min(GROWTH * size, BLOCK_STEPS, int(size * BLOCK_SECONDS / seconds)))
            size, paused = agree((size, pause is not None and pause(scan)))
            if paused:
                break
    except KeyboardInterrupt:
        return scan
    return scan


class Cut(KeyboardInterrupt):
    """A block was interrupted: ``block`` is what the steps before have given."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block


def evidence_of_interrupted(topic: Topic, scan: Scan) -> list[Evidence]:
    """Evidence for the last step of a scan that was interrupted there; empty where it has it already."""
    if scan.status is not Status.INTERRUPTED or scan.step < 0 or due(topic, scan.step):
        return []
    return topic.verify(scan.state, scan.step)


def advance(topic: Topic, scan: Scan, size: int, sinks: Sequence[Sink], agree: Callable[[Any], Any] = same) -> Scan:
    """One block: at most ``size`` further steps, checked and written."""
    first = scan.step + 1
    stop = min(first + size, topic.steps + 1)
    try:
        done = block(topic, scan.state, range(first, stop), partial(due, topic))
    except Cut as cut:
        done = cut.block
    end = agree(topic.stop(done.columns))
    if end is None and done.stop > topic.steps:
        end = (topic.steps, Status.COMPLETED)
    if end is not None:
        if end[0] + 1 < done.stop:
            done = block(topic, scan.state, range(first, end[0] + 1), partial(due, topic))
        done.seen[done.stop - 1] = done.state
    state, seen, columns, stop = done
    evidence = [row for k, there in seen.items() for row in topic.verify(there, k)]
    for sink in sinks:
        sink.write(columns)
        sink.evidence(evidence)
        sink.flush()
    last = {**scan.last, **{name: column.data[-1] for name, column in columns.items() if len(column.steps)}}
    return Scan(end[1] if end else scan.status, stop - 1, state, last, [*scan.evidence, *evidence])


def due(topic: Topic, k: int) -> bool:
    """Whether evidence is gathered at step k: one of the first steps, or of as many spread over the rest."""
    half = max(1, topic.evidence_steps // 2)
    return k < half or k % max(1, -(-topic.steps // half)) == 0


class Steps(Protocol):
    """What a block asks of a topic."""

    def step(self, state: State, k: int) -> tuple[State, Values]: ...

    def derive(self, before: State, columns: Columns) -> Columns: ...


def never(k: int) -> bool:
    """Of no step."""
    return False


def block(scan: Steps, state: State, steps: range, keep: Callable[[int], bool] = never) -> Block:
    """``steps`` from ``state`` on, as far as there is something to do; ``keep`` says which states are wanted."""
    found: dict[str, tuple[list[int], list[Tensor]]] = {}
    seen: dict[int, State] = {}
    before = state

    def until(stop: int) -> Block:
        return Block(state, seen, scan.derive(before, gather(found)), stop)

    for k in steps:
        try:
            after, values = scan.step(state, k)
        except KeyboardInterrupt as signal:
            if k == steps.start:
                raise
            raise Cut(until(k)) from signal
        if after is state and not values and k > steps.start:  # past the end
            return until(k)
        state = after
        for name, value in values.items():
            entry = found.get(name)
            if entry is None:
                entry = found[name] = ([], [])
            entry[0].append(k)
            entry[1].append(value)
        if keep(k):
            seen[k] = state
    return until(steps.stop)


def gather(found: dict[str, tuple[list[int], list[Tensor]]]) -> Columns:
    """Stack the values of each name and bring them to the CPU, one transfer a name."""
    with torch.no_grad():
        return {name: Column(steps, torch.stack(values).detach().cpu()) for name, (steps, values) in found.items()}
