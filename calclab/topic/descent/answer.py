"""The answer of a descent: where it is, how low, how it ended, and what theory had said."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calclab.core import Answer, Line, Said
from calclab.numerics.tolerance import tolerance_of
from calclab.topic import words
from calclab.topic.descent import edge
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
    shown = true.text() if lost else words.number(loss)
    lines: list[Said] = [Line("loss", f"{words.number(walk.start[0])} → {shown}", "loss")]
    lines += held_out(walk.scores) if bool(loss.isfinite()) else []
    values["gradient_norm"] = size
    lines.append(Line("gradient norm", words.number(size), "gradient_norm"))
    at = words.point(x) if listed and walk.network is None else ""
    if listed:
        values["x"] = x
        lines += [Line("at", f"({words.listing(x)})", "x")] if walk.network is None and not at else []
    if function.minima is not None:
        values["distance_to_minimum"] = away = (function.minima - x).norm(dim=1).min()
        lines.append(Line("distance", f"{words.number(away)} from the nearest known minimum", "distance_to_minimum"))
    values["ended"] = end.word
    theory = {} if forecast is None else forecast.values()
    values |= {name: torch.tensor(value, dtype=torch.float64) for name, value in theory.items()}
    values |= dict(edge.values(*walk.edges))
    told = edge.line(*walk.edges)
    lines += [told] if told is not None else []
    lines += end.lines
    if forecast is not None and not any(STABLE in line.text for line in end.lines):
        lines += forecast.lines()
    where = f" at {at}" if at else f": loss {words.number(true.best if lost else loss)}"
    return Answer(HEADLINES[end.word] + where, values, (), lines)


STABLE = "largest stable"  # said of lr, once
HEADLINES = {
    "minimum": "a minimum",
    "maximum": "a maximum",
    "saddle": "a saddle point",
    "flat": "a flat point",
    "stationary": "a stationary point",
    "moving": "still moving",
    "unstable": "overshooting",
    "risen": "the loss rose",
    "chance": "no better than chance",
    "diverged": "it runs away",
    "nonfinite": "it left the finite numbers",
}


def held_out(scores: Mapping[str, Tensor]) -> list[Line]:
    """How well a network does on the rows it learned from, and on others."""
    names = {"accuracy": "accuracy", "r2": "r²"}
    found = []
    for name, label in names.items():
        parts = [("train", ""), ("held_out", " on held-out rows")]
        told = [
            f"{float(scores[f'{part}_{name}']):{'.1%' if name == 'accuracy' else '.4g'}}{where}"
            for part, where in parts
            if f"{part}_{name}" in scores and bool(scores[f"{part}_{name}"].isfinite())
        ]
        found += [Line(label, ", ".join(told))] if told else []
    return found
