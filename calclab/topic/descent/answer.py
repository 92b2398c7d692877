"""The answer of a descent: where it is, how low, how it ended, and what theory had said."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Answer
from calclab.numerics.tolerance import tolerance_of
from calclab.topic import words
from calclab.topic.descent.ending import Ending
from calclab.topic.descent.walk import Walk
from calclab.topic.proven import proven


def answer(walk: Walk, end: Ending, *, listed: bool, height: float) -> Answer:
    """Where the walk ended, x (n,) written out where ``listed``; ``height`` is |f| at the start, by which it is judged
    whether f(x) has kept its digits."""
    function, x, loss, size, forecast = walk.function, walk.x, walk.loss, walk.gradient.norm(), walk.forecast
    values: dict[str, Tensor | str] = {"loss": loss}
    true = proven(function, x, loss, 0)
    allowed = tolerance_of(loss.dtype).certified * max(abs(float(true.best)), height)
    lost = abs(float(true.best - true.numbers)) > allowed  # as the evidence has it
    values |= true.values("loss") if lost else {}
    values["gradient_norm"] = size
    sentence = f"loss {true.text() if lost else words.number(loss)}, gradient norm {words.number(size)}"
    if listed:
        values["x"] = x
        sentence += f" at ({words.listing(x)})"
    if function.minima is not None:
        values["distance_to_minimum"] = away = (function.minima - x).norm(dim=1).min()
        sentence += f", {words.number(away)} from the nearest known minimum"
    values["ended"] = end.word
    theory = {} if forecast is None else forecast.values()
    values |= {name: torch.tensor(value, dtype=torch.float64) for name, value in theory.items()}
    return Answer(f"{sentence}; {end.sentence}", values)
