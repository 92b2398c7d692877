"""Knobs of the topics, at the root of the configuration: ``lr=0.05``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Derivative(Schema):
    steps: int = knob("how many step sizes h = 2^-k to try in the difference quotients", 40, at_least=1, at_most=1000)
    variable: str | None = knob("the variable to differentiate by; null takes the first", "x")


@dataclass(frozen=True, kw_only=True)
class Partial(Schema):
    layer: str | None = knob("show only the parameters of this layer of a network; null shows all", "hidden.0")


@dataclass(frozen=True, kw_only=True)
class Chain(Schema):
    pass


@dataclass(frozen=True, kw_only=True)
class Descent(Schema):
    lr: float = knob("learning rate: one step is -lr times the gradient", 0.05, above=0)
    steps: int = knob("the most steps to take", 200, at_least=0)
    tol: float = knob("stop when the gradient norm falls below it", 1e-8, at_least=0)
    batch: int | None = knob("rows of the data that a step sees; null for all", 64, at_least=1)
    epochs: int | None = knob("passes over the data to make, instead of steps", 20, at_least=0)
    sharpness: dict[str, Any] = knob(
        "every: log the largest eigenvalue of the Hessian, and lr/2 times it, every so many steps (0: never)",
        "{every: 50}",
    )


@dataclass(frozen=True, kw_only=True)
class Hessian(Schema):
    threshold: float = knob("condition numbers up to this one are called well-conditioned", 100, at_least=1)
    limit: int = knob("the most variables for which the matrix is formed", 5000, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Jacobian(Schema):
    row: int = knob("which row of the data is the input of a network", 0, at_least=0)
    batch: int | None = knob(
        "take this many rows at once and show the (batch, outputs, batch, inputs) array", 1, at_least=1
    )
    layer: str | None = knob("the layer of a network whose output is differentiated; null takes the last", "hidden.0")
    threshold: float = knob("condition numbers up to this one are called well-conditioned", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Importance(Schema):
    target: str = knob(
        "what is differentiated: the loss, an output by number (output.0), or the predicted class", "loss"
    )
    rows: int | None = knob("how many rows of the data to use; null takes all", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Comparison(Schema):
    optimizers: list[str] = knob(
        "the optimizers to compare, each with the knobs that it has by default; with a line search: lbfgs+wolfe",
        "'[gd,adam,lbfgs+wolfe]'",
        aside=True,
    )
    settings: dict[str, Any] | None = knob(
        "knobs of some of the optimizers, where they are not to have their defaults",
        "'{momentum: {momentum: 0.99}}'",
        aside=True,
    )
    budget: int = knob("gradient evaluations that every walk may use after the one at its start", 300, at_least=1)
    rates: list[float] = knob(
        "the learning rates that every optimizer tries: the lowest, the highest, and how many, evenly spaced on a "
        "logarithmic scale",
        "'[1e-4, 1, 25]'",
    )
    own: dict[str, Any] | None = knob(
        "optimizers with a sweep of their own, of as many rates: its lowest and its highest", "'{lbfgs: [0.1, 10]}'"
    )
    seeds: int = knob(
        "how many starts; with four or more the first half choose the rates and the others report",
        20,
        at_least=1,
        at_most=10_000,
    )
    tol: float = knob("a walk ends when its gradient norm falls below it", 1e-8, at_least=0)
