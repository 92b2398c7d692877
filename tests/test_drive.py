"""The loop: blocks must not show. Whatever their size, the log, the end and the last state are the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from calclab import drive as loop
from calclab.core import Answer, Columns, Evidence, State, Status, Values, Verdict
from calclab.sink.memory import MemorySink


@dataclass(frozen=True)
class Halving:
    """x_k = 2^-k; ends at the first x < tol; breaks off with an interrupt at step ``broken``."""

    steps: int
    tol: float = 0.0
    broken: int = -1
    evidence_steps: int = 4

    def init(self) -> State:
        return {"x": torch.tensor(2.0)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        if k == self.broken:
            raise KeyboardInterrupt
        x = state["x"] / 2
        values = {"x": x, "row": torch.stack([x, -x])}
        return {"x": x}, values | ({"matrix": torch.eye(2) * x} if k % 3 == 0 else {})

    def derive(self, before: State, columns: Columns) -> Columns:
        return columns

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        below = (columns["x"].data < self.tol).nonzero()
        return (columns["x"].steps[int(below[0])], Status.CONVERGED) if len(below) else None

    def verify(self, state: State, k: int) -> list[Evidence]:
        x = float(state["x"])
        return [Evidence(k, "x", "halving", x, 0.5**k, abs(x - 0.5**k), 0, 0, Verdict.CERTIFIED)]

    def answer(self, state: State) -> Answer:
        return Answer("", state)

    def labels(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        return {}

    def pictures(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_every_step_is_logged_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK_STEPS", size)
    memory = MemorySink()
    scan = loop.drive(Halving(40), [memory])
    assert scan.status is Status.COMPLETED
    assert scan.step == 40
    assert memory.columns["x"].steps == list(range(41))
    assert torch.equal(memory.columns["x"].data, 0.5 ** torch.arange(41))
    assert memory.columns["row"].data.shape == (41, 2)
    assert memory.columns["matrix"].steps == list(range(0, 41, 3))
    assert float(scan.state["x"]) == 0.5**40


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_end_inside_a_block_cuts_the_log_there(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK_STEPS", size)
    memory = MemorySink()
    scan = loop.drive(Halving(1000, tol=0.5**20), [memory])
    assert scan.status is Status.CONVERGED
    assert scan.step == 21
    assert memory.columns["x"].steps == list(range(22))
    assert float(scan.state["x"]) == float(scan.last["x"]) == 0.5**21
    assert scan.evidence[-1].step == 21


def test_evidence_is_spread_and_right() -> None:
    scan = loop.drive(Halving(100), [])
    assert [row.step for row in scan.evidence] == [0, 1, 50, 100]
    assert all(row.gap == 0 for row in scan.evidence)


@pytest.mark.parametrize("broken", [1, 37, 120])
def test_an_interrupt_keeps_every_step_before_it(broken: int) -> None:
    memory = MemorySink()
    scan = loop.drive(Halving(1000, broken=broken), [memory])
    assert scan.status is Status.INTERRUPTED
    assert scan.step == broken - 1
    assert memory.columns["x"].steps == list(range(scan.step + 1))
    assert float(scan.state["x"]) == 0.5**scan.step


@dataclass(frozen=True)
class Resting(Halving):
    """The same with an end of its own, past which nothing moves; ``calls`` are the steps asked for."""

    calls: list[int] = field(default_factory=list)

    def step(self, state: State, k: int) -> tuple[State, Values]:
        self.calls.append(k)
        return (state, {}) if state["x"] < self.tol else super().step(state, k)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_scan_that_rests_at_its_end_does_nothing_twice(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK_STEPS", size)
    memory, other = MemorySink(), MemorySink()
    topic = Resting(1000, tol=0.5**20)
    scan, same = loop.drive(topic, [memory]), loop.drive(Halving(1000, tol=0.5**20), [other])
    assert (scan.status, scan.step, scan.state) == (same.status, same.step, same.state)
    assert [row.step for row in scan.evidence] == [row.step for row in same.evidence]
    assert all(torch.equal(memory.columns[name].data, other.columns[name].data) for name in other.columns)
    assert topic.calls[:22] == list(range(22))
    assert len(topic.calls) <= 23
