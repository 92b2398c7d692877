"""Knobs of the line searches, under ``line_search.``; the first step length tried is ``lr``."""

from __future__ import annotations

from dataclasses import dataclass

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Armijo(Schema):
    c1: float = knob("the least part of the decrease promised by the slope", 1e-4, above=0, below=1)
    shrink: float = knob("what the step length is multiplied by when it was too long", 0.5, above=0, below=1)
    trials: int = knob("the most step lengths to try in one step", 40, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Wolfe(Schema):
    c1: float = knob("the least part of the decrease promised by the slope", 1e-4, above=0, below=1)
    c2: float = knob("the slope may have at most this part of its size at the start; above c1", 0.9, above=0, below=1)
    trials: int = knob("the most step lengths to try in one step", 25, at_least=1)
