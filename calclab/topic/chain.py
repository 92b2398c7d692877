"""The chain rule at work: link by link through a composition, or layer by layer through a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from calclab import schema
from calclab.core import Function, Topic
from calclab.subject.network import Network
from calclab.topic.base import Choice
from calclab.topic.layers import Layers
from calclab.topic.links import Links


@dataclass(frozen=True, kw_only=True)
class Chain(schema.topic.Chain, Choice):
    """k runs over the links of a function (``links.py``) or over the layers of a network (``layers.py``)."""

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scan.steps  # noqa: B018  a network without layers is refused now and not at the first step

    @cached_property
    def scan(self) -> Topic:
        return Layers(self.subject) if isinstance(self.subject, Network) else Links(self.subject)
