"""The chain rule at work: link by link through a composition, or layer by layer through a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from calclab import schema
from calclab.core import Answer, Evidence, Function, Labels, Picture, State, Topic, Values
from calclab.function.network import Network
from calclab.topic.base import Method
from calclab.topic.layers import Layers
from calclab.topic.links import Links


@dataclass(frozen=True, kw_only=True)
class Chain(schema.topic.Chain, Method):
    """k runs over the links of a function (``links.py``) or over the layers of a network (``layers.py``)."""

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scan.steps  # noqa: B018  a network without layers is refused now and not at the first step

    @cached_property
    def scan(self) -> Topic:
        return Layers(self.subject) if isinstance(self.subject, Network) else Links(self.subject)

    @property
    def steps(self) -> int:
        return self.scan.steps

    @property
    def checks(self) -> int:
        return self.scan.checks

    def init(self) -> State:
        return self.scan.init()

    def step(self, state: State, k: int) -> tuple[State, Values]:
        return self.scan.step(state, k)

    def verify(self, state: State, k: int) -> list[Evidence]:
        return self.scan.verify(state, k)

    def answer(self, state: State) -> Answer:
        return self.scan.answer(state)

    def labels(self) -> Labels:
        return self.scan.labels()

    def pictures(self) -> Sequence[Picture]:
        return self.scan.pictures()
