"""Knobs of the optimizers, under ``optimizer.``; the learning rate is the descent topic's own."""

from __future__ import annotations

from dataclasses import dataclass

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Gd(Schema):
    pass


@dataclass(frozen=True, kw_only=True)
class Momentum(Schema):
    momentum: float = knob("how much of the last velocity is kept", 0.9, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Nesterov(Schema):
    momentum: float = knob("how much of the last velocity is kept", 0.9, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Adam(Schema):
    beta1: float = knob("decay of the mean gradient", 0.9, at_least=0, below=1)
    beta2: float = knob("decay of the mean squared gradient", 0.999, at_least=0, below=1)
    eps: float = knob("added to the root of the mean squared gradient", 1e-8, above=0)
