"""Knobs of the schedules of the learning rate, under ``schedule.``; each is a factor on lr, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


def over(what: str) -> Any:
    return knob(f"{what}; null takes all steps of the run", 100, at_least=1)


def floor() -> Any:
    return knob("the factor on lr that it falls to", 0.01, at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Constant(Schema):
    pass


@dataclass(frozen=True, kw_only=True)
class Step(Schema):
    every: int = knob("steps between two falls", 100, at_least=1)
    factor: float = knob("what lr is multiplied by at each fall", 0.1, above=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schema):
    factor: float = knob("what lr is multiplied by at every step", 0.99, above=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Linear(Schema):
    start: float = knob("the factor on lr at the first step", 1.0, at_least=0, at_most=1)
    end: float = knob("the factor on lr in the end", 0.01, at_least=0, at_most=1)
    over: int | None = over("steps from start to end")


@dataclass(frozen=True, kw_only=True)
class Cosine(Schema):
    floor: float = floor()
    over: int | None = over("steps down to the floor, where it stays")


@dataclass(frozen=True, kw_only=True)
class Warmup(Schema):
    over: int = knob("steps that lr rises for, in a straight line", 20, at_least=1)
    start: float = knob("the factor on lr at the first step", 0.01, at_least=0, at_most=1)
    then: str = knob("what follows", "cosine", choices=("constant", "cosine"))
    floor: float = knob("the factor on lr that the cosine falls to by the last step", 0.01, at_least=0, at_most=1)
