"""What the tests of topics share: a walk through a topic that checks purity on the way, and small networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Answer, Data, Evidence, Function, State, Topic, Values, Verdict
from calclab.subject.network import Network, network

torch.set_num_threads(1)


@dataclass
class Walk:
    """All that a topic said."""

    state: State
    values: list[Values]
    evidence: list[Evidence]
    answer: Answer

    @property
    def verdicts(self) -> set[Verdict]:
        return {row.verdict for row in self.evidence}


def copy(state: Any) -> Any:
    return {key: copy(value) for key, value in state.items()} if isinstance(state, dict) else state.clone()


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return torch.equal(torch.nan_to_num(left, nan=7.25), torch.nan_to_num(right, nan=7.25))


def run(topic: Topic) -> Walk:
    """Carry a topic through all its steps; each step is taken twice and must leave what it was given untouched."""
    assert isinstance(topic, Topic)
    state, values, evidence = topic.init(), [], []
    labels = topic.labels()
    for k in range(topic.steps + 1):
        before = copy(state)
        after, found = topic.step(state, k)
        assert same(state, before)
        again, twice = topic.step(state, k)
        assert same(after, again)
        assert same(dict(found), dict(twice))
        for name, value in found.items():
            if value.ndim:
                assert name in labels, f"{name} has no labels"
                assert tuple(map(len, labels[name])) == tuple(value.shape), name
        state = after
        values.append(found)
        evidence += topic.verify(state, k)
    logged = {name for found in values for name in found}
    for picture in topic.pictures():
        wanted = getattr(picture, "columns", None) or picture.shows
        assert set(wanted) <= logged, picture
    answer = topic.answer(state)
    assert 0 < len(answer.headline) <= 130, answer.headline
    labels = [line.label for line in answer.lines]
    assert len(set(labels)) == len(labels), labels
    assert all(0 < len(label) <= 20 for label in labels), labels
    assert "\n" not in answer.sentence
    assert "nan" not in answer.sentence.split()
    return Walk(state, values, evidence, answer)


@pytest.fixture
def walk() -> Callable[[Topic], Walk]:
    return run


def data(rows: int, shape: tuple[int, ...], outputs: int, classification: bool = False, seed: int = 3) -> Data:
    """Lopsided random rows, with named features."""
    maker = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, *shape, generator=maker, dtype=torch.float64) * 1.3 + 0.2
    if classification:
        y = torch.arange(rows) % outputs
    else:
        y = torch.randn(rows, outputs, generator=maker, dtype=torch.float64)
    width = x[0].numel()
    names = tuple(f"f{i}" for i in range(width)), tuple(f"c{i}" for i in range(outputs))
    return Data("random", x, y, *names, classification)


def built(module: Callable[[], nn.Module], rows: Data, **more: Any) -> Network:
    """A network of a module that needs nothing of the data, with seeded weights."""

    return network(module, rows, name="net", seed=0, dtype=torch.float64, device=torch.device("cpu"), **more)


@pytest.fixture
def make_data() -> Callable[..., Data]:
    return data


@pytest.fixture
def make_network() -> Callable[..., Network]:
    return built


@pytest.fixture
def meta() -> Callable[..., Function]:
    """A function without numbers: a step that reads one back fails on it."""

    def make(call: Callable[[Tensor], Tensor], n: int, outputs: tuple[str, ...] = ()) -> Function:
        start = torch.empty(n, dtype=torch.float64, device="meta")
        return Function("meta", call, start, tuple(f"x{i}" for i in range(n)), outputs)

    return make
