"""Descent: a point walks downhill, by the rule of an optimizer, on a function or on a network's full-batch loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import (
    Answer,
    Columns,
    Contours,
    Curves,
    Evidence,
    Function,
    Labels,
    Picture,
    Rule,
    State,
    Status,
    Values,
)
from calclab.function.network import Network
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.verify import check_gradient, check_value
from calclab.topic import words

POSITIONS = 100  # with more variables the position is not logged at every step
RUNAWAY = 1e10  # diverged: loss or gradient norm this many times what they were at the start


@dataclass(frozen=True, kw_only=True)
class Descent(schema.topic.Descent):
    """x_{k+1} = x_k + move(g_k), g_k = ∇f(x_k), x_k of shape (n,).

    Row k of the log holds f(x_k), ‖g_k‖, the length ‖x_k - x_{k-1}‖ of the step that led there, and x_k. The run
    converges when ‖g_k‖ < tol, diverges when |f| or ‖g‖ passes 1e10 times its scale at the start.
    """

    subject: Function | Network
    optimizer: Rule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.subject.objective()  # refuses a vector function now and not at the first step

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The size of |f| and ‖g‖ at the start, at least 1: what running away is measured by."""
        value, g = value_and_gradient(self.function.call, self.function.start)
        return tuple(max(1.0, float(size)) if size.isfinite() else 1.0 for size in (value.abs(), g.norm()))  # type: ignore[return-value]

    @property
    def checks(self) -> int:
        if self.function.exact is not None:
            return 128
        return 6 if len(self.function.start) <= POSITIONS else 2  # each costs about fifteen gradients

    def init(self) -> State:
        x = self.function.start
        return {"x": x, "move": torch.zeros_like(x), "rule": self.optimizer.init(x)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        x, rule = state["x"], state["rule"]
        move = state["move"]
        if k > 0:
            move, rule = self.optimizer.update(state["gradient"], rule, x)
            x = x + move
        loss, g = value_and_gradient(self.function.call, x)
        state = {"x": x, "move": move, "rule": rule, "loss": loss, "gradient": g}
        norm = torch.linalg.vector_norm
        values = {"loss": loss, "gradient_norm": norm(g), "step_length": norm(move)}
        if len(x) <= POSITIONS:
            values["x"] = x
        return state, values

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        loss, size = columns["loss"].data, columns["gradient_norm"].data
        f0, g0 = self.scale
        rules = {
            Status.NONFINITE: ~(loss.isfinite() & size.isfinite()),
            Status.DIVERGED: (loss.abs() > RUNAWAY * f0) | (size > RUNAWAY * g0),
            Status.CONVERGED: size < self.tol,
        }
        steps = columns["loss"].steps
        ends = [(steps[int(hit.nonzero()[0])], status) for status, hit in rules.items() if hit.any()]
        return min(ends, key=lambda end: end[0], default=None)

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, x = self.function, state["x"]
        if not bool(torch.isfinite(x).all()):
            return []
        evidence = check_value(f, x, state["loss"], k) if k == 0 else []
        return evidence + check_gradient(f, x, state["gradient"], k, scale=self.scale[1], closed=k == 0)

    def answer(self, state: State) -> Answer:
        f, x, g = self.function, state["x"], state["gradient"]
        values: dict[str, Tensor | str] = {"loss": state["loss"], "gradient_norm": g.norm()}
        sentence = f"loss {words.number(state['loss'])}, gradient norm {words.number(g.norm())}"
        if len(x) <= POSITIONS:
            values["x"] = x
            sentence += f" at ({words.listing(x)})"
        if f.minima is not None:
            distance = (f.minima - x).norm(dim=1).min()
            values["distance_to_minimum"] = distance
            sentence += f", {words.number(distance)} from the nearest known minimum"
        return Answer(sentence, values)

    def labels(self) -> Labels:
        return {"x": (self.function.variables,)}

    def pictures(self) -> Sequence[Picture]:
        curves: list[Picture] = [Curves("loss", ("loss",)), Curves("gradient_norm", ("gradient_norm", "step_length"))]
        if len(self.function.start) == 2:
            curves.insert(0, Contours("path", "x", self.function))
        return curves
