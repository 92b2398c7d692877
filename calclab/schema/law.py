"""Knobs of the laws: ``topic=law law=double_descent law.draws=50``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class DoubleDescent(Schema):
    rows: int = knob("how many rows n there are to learn from", 100, at_least=2, at_most=2000, unit="rows")
    ratios: list[Any] = knob("features for each row, p/n, at which the risk is measured", "'[0.5, 2]'")
    draws: int = knob("sets of rows drawn at each ratio", 50, at_least=2, at_most=100000)
    signal: float = knob("length of the true weights", 2.0, at_least=0)
    noise: float = knob("standard deviation of the noise", 0.5, at_least=0)


@dataclass(frozen=True, kw_only=True)
class ImplicitRegularisation(Schema):
    largest: float = knob(
        "the largest rate, as a share of the inverse curvature along the gradient at the start", 0.05, above=0
    )
    halvings: int = knob("how often the rate is halved", 8, at_least=2, at_most=40)


@dataclass(frozen=True, kw_only=True)
class MomentumRate(Schema):
    count: int = knob("rates, and momenta, on each side of the grid", 30, at_least=2, at_most=500)
    reach: float = knob("the largest rate, times the largest eigenvalue", 3.0, above=0)
    momentum: float = knob("the largest momentum", 0.9, at_least=0, below=1)
    walk: int = knob("steps of each walk", 2000, at_least=40, unit="steps")


@dataclass(frozen=True, kw_only=True)
class Imbalance(Schema):
    lr: float = knob("the largest rate", 0.05, above=0)
    time: float = knob("rate times steps, for every rate the same", 2.0, above=0)
    halvings: int = knob("how often the rate is halved", 3, at_least=2, at_most=20)


@dataclass(frozen=True, kw_only=True)
class Modes(Schema):
    lr: float = knob("rate of the descent", 0.002, above=0)
    time: float = knob("rate times steps of the whole descent", 10.0, above=0)
    looks: int = knob("how often the modes are looked at on the way", 40, at_least=2, at_most=10000)
    start: float = knob("strength of each mode at first", 1e-4, above=0)


@dataclass(frozen=True, kw_only=True)
class Propagation(Schema):
    draws: int = knob("how often the weights are drawn", 50, at_least=2, at_most=100000)
    weights: str = knob(
        "how: normal with variance 2/inputs (he), 2/(inputs + outputs) (xavier), or orthogonal",
        "xavier",
        choices=("he", "xavier", "orthogonal"),
    )
    gain: float = knob("what the weights drawn are multiplied by", 1.4142135623730951, above=0)
    row: int = knob("the row of the data that is the first input", 0, at_least=0)
    correlation: float = knob("of the second input to the first", 0.5, at_least=-1, at_most=1)
