"""Descent: a point walks downhill, by the rule of an optimizer, on a function or on a network's loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from calclab import schema
from calclab.core import Answer, Columns, Evidence, Function, Labels, Picture, Rule, State, Status, Values
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import admit
from calclab.optimizer.rules import GradientDescent
from calclab.subject.minibatch import Minibatches
from calclab.subject.network import Network
from calclab.topic.descent.answer import answer
from calclab.topic.descent.ending import ending
from calclab.topic.descent.evidence import check_step, size_at_start
from calclab.topic.descent.flows import LAWS, LOOKS, VARIABLES, Flows
from calclab.topic.descent.forecast import Forecast, forecast
from calclab.topic.descent.iteration import POSITIONS, Iteration
from calclab.topic.descent.layers import KINDS, layers
from calclab.topic.descent.pictures import pictures
from calclab.topic.descent.stopping import runs_away, scale_at_start, stops
from calclab.topic.descent.walk import Walk

WEIGHTS = "weights.pt"
FEWEST, MOST = 2, 6  # steps that are looked at: start and end, and of a short walk some between
SHARE = 0.1  # of the run's own work, for evidence between
COST = 15  # steps of a network that a look at one costs


@dataclass(frozen=True, kw_only=True)
class Descent(schema.topic.Descent):
    """x_{k+1} = x_k + move(g_k), g_k = ∇f(x_k), x_k of shape (n,).

    Row k of the log holds f(x_k), ‖g_k‖, x_k, and of the step that led there what `trace` says. The run converges when
    ‖g_k‖ < tol, diverges when |f| or ‖g‖ passes 1e10 times its scale at the start.
    """

    subject: Function | Network
    optimizer: Rule
    schedule: Callable[..., Callable[[int], float]] | None = None  # takes ``steps``, gives the factor on lr at step k
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch is not None and not isinstance(self.subject, Network):
            raise UserError(f"batch={self.batch}: a function has no rows to take. Name a network, or leave batch out.")
        if self.watch is not None and not isinstance(self.subject, Network):
            raise UserError(f"watch={self.watch}: a function has no layers. Name a network, or leave watch out.")
        if self.epochs is not None:
            per_epoch = 1 if self.minibatches is None else self.minibatches.steps_per_epoch
            object.__setattr__(self, "steps", self.epochs * per_epoch)
        admit(self.optimizer, self.function)  # a vector function is refused now too, and not at the first step
        if self.evidence not in (None, "full", "off") and not is_share(self.evidence):
            raise UserError(f"evidence={self.evidence}: a share from 0 to 1, full or off. Type evidence=0.1")
        every = self.sharpness.get("every")
        if set(self.sharpness) != {"every"} or isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise UserError(f"sharpness={self.sharpness}: every is a whole number of steps. Type sharpness.every=50")
        if self.flow is not None and (why := self.without_flow()):
            raise UserError(f"flow={self.flow}: {why}, or leave flow out.")

    def without_flow(self) -> str:
        """Why theory has no flow for this descent, and what to type; empty where it has."""
        start = self.function.start
        if not self.flow or not set(self.flow) <= set(LAWS):
            return f"there are {' and '.join(LAWS)}. Type flow=[gradient,central]"
        if type(self.optimizer) is not GradientDescent:
            rule = type(self.optimizer).__name__
            return f"the flows are those of gradient descent, and not of {rule}. Type optimizer=gd"
        if self.schedule is not None:
            return "the flows are those of a constant rate. Leave schedule out"
        if self.minibatches is not None:
            return "the flows are those of all rows. Leave batch out"
        if start.dtype != torch.float64:
            return "the flows are integrated in float64. Type dtype=float64"
        if len(start) > VARIABLES:
            return f"they are for at most {VARIABLES:,} variables, and here are {len(start):,}. Take a smaller network"
        return ""

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def minibatches(self) -> Minibatches | None:
        """The rows that each step sees; None where it sees all."""
        if self.batch is None or not isinstance(self.subject, Network):
            return None
        return self.subject.sampled(self.batch, self.seed)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The size of |f| and ‖g‖ at the start, at least 1: what running away is measured by."""
        return scale_at_start(self.function)

    @cached_property
    def forecast(self) -> Forecast | None:
        """Theory on the Hessian at the start; None with many variables, or where rate or rows change on the way."""
        if len(self.function.start) > POSITIONS or self.schedule is not None or self.minibatches is not None:
            return None
        return forecast(self.function, self.optimizer, self.lr, self.tol)

    @property
    def every(self) -> int:
        """The sharpness is found every so many steps; 0: never. Beside flows it is, also where nobody asked: every odd
        number of steps, so that of an oscillation to and fro both sides are seen."""
        asked: int = self.sharpness["every"]
        return asked if asked or self.flow is None else max(1, self.steps // LOOKS) | 1

    @cached_property
    def flows(self) -> Flows | None:
        """Theory's flows from the same start."""
        return None if self.flow is None else Flows(self.function, self.lr, tuple(self.flow), self.every)

    @cached_property
    def iteration(self) -> Iteration:
        """What this run iterates, as values."""
        return Iteration(
            subject=self.subject,
            function=self.function,
            rule=self.optimizer,
            lr=self.lr,
            steps=self.steps,
            factor=None if self.schedule is None else self.schedule(steps=self.steps),
            minibatches=self.minibatches,
            predicted=None if self.forecast is None else self.forecast.factor,
            sharpness_every=self.every,
            watch=self.watch is not None,
            flows=self.flows,
            seed=self.seed,
        )

    @property
    def evidence_steps(self) -> int:
        if not self.iteration.short:
            return FEWEST
        if self.evidence == "full" or self.function.exact is not None:
            return MOST
        share = SHARE if self.evidence in (None, "off") else float(self.evidence)
        return min(MOST, FEWEST + int(share * self.steps / COST))

    def notes(self) -> Sequence[str]:
        unseen = ["evidence=off: no number of this run was checked"] if self.evidence == "off" else []
        return [*unseen, *([] if self.forecast is None else self.forecast.notes())]

    # --- the scan ---

    def init(self) -> State:
        return self.iteration.init()

    def step(self, state: State, k: int) -> tuple[State, Values]:
        return self.iteration.step(state, k)

    def derive(self, before: State, columns: Columns) -> Columns:
        return self.iteration.derive(before, columns)

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        return stops(columns, self.tol, self.scale, settles=self.minibatches is None)[0]

    # --- the answer ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        if self.evidence == "off":
            return []
        x, loss, g = state["x"], state["loss"], state["gradient"]
        beside = [] if self.flows is None else self.flows.verify(state["flows"], k)
        return check_step(self.iteration.seen(k), x, loss, g, k, size_at_start(self.function)) + beside

    def answer(self, state: State) -> Answer:
        walk = self.walk(state)
        found = answer(walk, ending(walk), listed=self.iteration.short, height=size_at_start(self.function).height)
        if self.flows is None:
            return found
        values, lines = self.flows.values(state["flows"]), self.flows.lines(state["flows"])
        return replace(found, values={**found.values, **values}, lines=[*found.lines, *lines])

    def walk(self, state: State) -> Walk:
        """What is known of the walk at its end."""
        f, x, loss, g = self.function, state["x"], state["loss"], state["gradient"]
        contraction = None
        if self.minibatches is not None:  # of all rows, at the end
            loss, g = loss_and_gradient(f, x)
        elif "before" in state:
            contraction = float(g.norm() / state["before"].norm())
        return Walk(
            subject=self.subject,
            function=f,
            rule=self.optimizer,
            x=x,
            move=state["move"],
            loss=loss,
            gradient=g,
            contraction=contraction,
            tol=self.tol,
            lr=self.lr,
            runaway=bool(runs_away(loss, g.norm(), self.scale)),
            forecast=self.forecast,
            scheduled=self.schedule is not None,
            last=float(state.get("factor", 1.0)),
            peak=float(state.get("peak", 1.0)),
            batch=self.batch,
            sharpness=float(state["sharpness"]) if "sharpness" in state else None,
            seed=self.seed,
            state=state["rule"],
            steps=self.steps,
        )

    def write_artifacts(self, state: State, folder: Path) -> None:
        """A network's weights, for ``network.weights=``."""
        if isinstance(self.subject, Network):
            self.subject.save(state["x"], folder / WEIGHTS)

    def labels(self) -> Labels:
        if self.watch is None or not isinstance(self.subject, Network):
            return {"x": (self.function.variables,)}
        return {"x": (self.function.variables,), **{f"layer_{kind}": (layers(self.subject),) for kind in KINDS}}

    def pictures(self) -> Sequence[Picture]:
        path, edge = bool(self.iteration.stride), bool(self.every)
        flows = tuple(self.flow or ())
        return pictures(self.subject, self.function, self.optimizer, self.lr, path=path, edge=edge, flows=flows)


def is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
