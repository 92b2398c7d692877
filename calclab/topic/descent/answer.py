"""The answer of a descent: where it is, how low, how it ended, and what theory had said."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Answer, Function
from calclab.topic import words
from calclab.topic.descent.ending import Ending
from calclab.topic.descent.forecast import Forecast


def answer(
    function: Function, x: Tensor, loss: Tensor, size: Tensor, end: Ending, forecast: Forecast | None, listed: bool
) -> Answer:
    """At x (n,), which is written out where ``listed``, with f(x) and ``size`` = ‖∇f(x)‖."""
    values: dict[str, Tensor | str] = {"loss": loss, "gradient_norm": size}
    sentence = f"loss {words.number(loss)}, gradient norm {words.number(size)}"
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
